"""What is in a robot's recordings, and what is wrong with them: `egowm data`."""
