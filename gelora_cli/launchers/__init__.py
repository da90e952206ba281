"""Processes: worker groups, jobs of a sweep, signals."""
