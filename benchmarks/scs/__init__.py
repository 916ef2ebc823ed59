"""How right and how fast the score is."""
