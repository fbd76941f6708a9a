"""What travels between a Snowflake client and the emulator: sign-in, statements, results, files of rows."""
