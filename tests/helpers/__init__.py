"""Builders and fixtures that several test modules share."""
