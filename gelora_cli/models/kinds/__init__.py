"""One declaration for each kind of model: where its blocks and linears are, and what its tokenizer needs."""
