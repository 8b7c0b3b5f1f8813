"""Adapt an encoder to a language from ordered monolingual text alone."""
