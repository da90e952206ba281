"""Pictures and pages from finished runs; no torch."""
