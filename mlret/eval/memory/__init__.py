"""Evaluation of the memory: lookup across languages, duplicates, and the effect of each ranking feature."""
