"""Which structures are scored: reading them, and making them once for all models."""
