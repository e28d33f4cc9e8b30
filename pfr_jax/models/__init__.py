"""Models: what a recommender is, and two of them."""
