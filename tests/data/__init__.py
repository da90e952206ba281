"""Tests of gelora_cli.data."""
