"""A client's whole round as programs of a GPU, one for each member, that share its rows' cache."""
