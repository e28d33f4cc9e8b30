"""The engine of exact low-rank local training."""
