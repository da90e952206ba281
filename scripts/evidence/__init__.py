"""The matched comparison of rank allocators: its runs, its archive and its page."""
