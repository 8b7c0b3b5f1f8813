"""Labels for training examples: hard negatives, and the scores of teachers."""
