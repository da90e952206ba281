"""Tests of gelora_cli.config."""
