"""The local service: the whole fine-tuning API on one machine, and training that is real."""
