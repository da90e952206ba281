"""gelora: geometric adaptive LoRA ranks, measured, assigned, trained and compared."""

__version__ = "0.1.0"
