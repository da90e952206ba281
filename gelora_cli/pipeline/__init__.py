"""The order of the stages, from resolved inputs to a finished run."""
