"""The contestants of the throughput benchmark: the same federated rounds, computed by each."""
