"""Tests of gelora_cli.metrics."""
