"""Tests of gelora_cli.methods."""
