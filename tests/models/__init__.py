"""Tests of gelora_cli.models."""
