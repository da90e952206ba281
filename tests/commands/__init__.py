"""Tests of gelora_cli.commands."""
