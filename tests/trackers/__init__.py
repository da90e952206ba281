"""Tests of gelora_cli.trackers."""
