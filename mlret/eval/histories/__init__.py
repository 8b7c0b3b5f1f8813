"""Benchmarks of long histories: documents of one conversation, questions about it, and the systems that rank them."""
