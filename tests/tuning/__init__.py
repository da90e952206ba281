"""Tests of gelora_cli.tuning."""
