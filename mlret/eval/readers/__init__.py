"""Readers of evaluation data in the layouts in which it is published."""
