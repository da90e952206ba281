"""Tests of gelora_cli.report."""
