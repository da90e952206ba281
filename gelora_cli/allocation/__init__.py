"""Which rank where: from a measured signal and a budget to ranks; no torch."""
