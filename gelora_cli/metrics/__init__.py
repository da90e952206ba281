"""The metrics of every task."""
