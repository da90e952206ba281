"""Tests of gelora_cli.tasks."""
