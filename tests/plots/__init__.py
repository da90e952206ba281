"""Tests of gelora_cli.plots."""
