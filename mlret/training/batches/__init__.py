"""Make batches of training text: what is drawn together for each kind of objective."""
