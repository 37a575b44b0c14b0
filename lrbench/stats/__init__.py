"""Statistics: arrays in, numbers out. They know nothing of runs or files."""
