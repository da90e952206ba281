"""One declaration for each kind of model: where its blocks and linear layers are, and what its tokenizer needs."""
