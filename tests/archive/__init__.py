"""Tests of gelora_cli.archive."""
