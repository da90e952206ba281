"""Tests of gelora_cli.launchers."""
