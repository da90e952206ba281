"""The geometry of hidden states: intrinsic dimension, neighbours, Jacobians, theory."""
