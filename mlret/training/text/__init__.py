"""The text that a recipe trains on, read from its sources without held-out text, and the tokenizer that it trains."""
