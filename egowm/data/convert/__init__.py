"""Other recordings turned into folders that egowm reads."""
