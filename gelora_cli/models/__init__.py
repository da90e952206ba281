"""Where a model is, loading it, and the map of its blocks."""
