"""Wrong calls of the Python API, one argument changed at a time: see `__main__`."""
