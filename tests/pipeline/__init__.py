"""Tests of gelora_cli.pipeline."""
