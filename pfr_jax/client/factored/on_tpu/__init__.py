"""A client's whole round as one program of a TPU, from whose vector memory its rows never go."""
