"""What an encoder learns by: the losses, and what they need beside a batch (banks, normalisation, a teacher)."""
