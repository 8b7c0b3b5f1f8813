"""What is added to training examples: mined hard negatives, and the scores of a teacher."""
