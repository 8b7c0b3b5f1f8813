"""Clients of the server: the verbs of an index and of a memory, over HTTP."""
