"""Benchmarks of gelora beside public tools; `make benchmarks` runs them and writes docs/benchmarks.md."""
