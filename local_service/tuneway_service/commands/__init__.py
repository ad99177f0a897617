"""The commands that the local service adds to `tuneway`: found by the entry points `tuneway.commands`."""
