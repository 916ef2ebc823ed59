"""What a model did, measured and shown: scores beside reference rows, reports."""
