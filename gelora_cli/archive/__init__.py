"""Finished runs in one compressed file, which is read like their directories: its lines, writing and reading it."""
