"""Latents of frozen encoders, computed once and trained from."""
