"""What every process needs to be part of the mesh: settings, identity, channels, telemetry, server. Knows no service."""
