"""What the stages hand to each other: frozen dataclasses, stored as JSON by `codec.py`.

A field's name is its key in the file. A file that was written before a field existed is read with the field's default.
These modules import neither torch nor numpy, so that `gelora ls` and `gelora ranks` start at once.
"""
