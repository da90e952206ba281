"""Tests of gelora_cli.signals."""
