"""The commands that the local service adds to `tuneway`, by the entry points `tuneway.commands`."""
