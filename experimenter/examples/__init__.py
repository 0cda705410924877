"""Programs to try experimenter on, and to copy."""
