"""The benchmarks: each module reads one in its own layout and scores it by its own protocol."""
