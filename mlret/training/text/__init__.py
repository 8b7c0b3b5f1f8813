"""What a recipe trains on: its sources read, held-out text removed, on disk; and the tokenizer that is made of it."""
