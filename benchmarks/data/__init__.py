"""Clips a second of every data format."""
