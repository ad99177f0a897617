"""The local service: the whole fine-tuning API on one machine, with real training."""
