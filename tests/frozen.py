"""Imported last by a process that is copied: its garbage collector leaves what is there alone, or
each copy would write to, and so copy, the memory of all modules."""

import atexit
import gc

gc.collect()
gc.freeze()
atexit.register(gc.unfreeze)  # or all of it counts as leaked in the end
