"""What the verbs do once their options are read: here torch is imported, and nowhere above."""
