"""The same federated rounds in PyTorch, for the throughput benchmark."""
