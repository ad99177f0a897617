"""Runs code of clients in processes with limits. Nothing here imports the rest of the service: it starts quickly."""
