"""The evaluation of the memory: lookup across languages, duplicates, and what each ranking feature is worth."""
