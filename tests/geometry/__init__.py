"""Tests of gelora_cli.geometry."""
