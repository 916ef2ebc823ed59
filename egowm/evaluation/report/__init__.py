"""Pages that show a run and its scores, complete in themselves."""
