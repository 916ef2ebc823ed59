"""The content of a robot's recordings, and their faults: `egowm data`."""
