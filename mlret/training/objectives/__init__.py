"""The training losses, and what they need beside a batch: memory banks, normalisation and teacher vectors."""
