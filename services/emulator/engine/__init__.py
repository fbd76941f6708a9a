"""What the emulator keeps: the catalogue, versions of rows, sessions, locks and rights."""
