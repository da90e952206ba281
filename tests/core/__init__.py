"""Tests of gelora_cli.core."""
