"""What a run needs besides model and data: seeds, checkpoints, averages, guards, records."""
