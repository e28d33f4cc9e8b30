"""A run: trained, logged, checkpointed, resumed, summed up."""
