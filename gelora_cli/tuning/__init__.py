"""`gelora tune`: the same number of trials for every method, recorded so that a study can be resumed."""
