"""Task data: from a data set to encoded examples and batches."""
