"""The same federated rounds of the benchmark, for the throughput benchmark."""
