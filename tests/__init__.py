"""Tests of gelora; the folder mirrors gelora_cli."""
