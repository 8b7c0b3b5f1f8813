"""From text to batches: what is drawn together for each kind of objective."""
