"""Tests of gelora_cli.allocation."""
