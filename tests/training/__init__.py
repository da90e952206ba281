"""Tests of gelora_cli.training."""
