"""Trackers: where the lines of metrics of a training go, behind one protocol."""
