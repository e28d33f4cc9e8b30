"""What happens on the client: local training on the rows of its own items."""
