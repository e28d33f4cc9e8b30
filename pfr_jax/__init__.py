"""A vectorized JAX simulator of personalized federated recommenders (PersonalFR).

Every user is a federated client with a private encoder; a server averages the shared decoder.
See ``pfr_jax.simulation`` for the round loop and ``pfr_jax.client`` for local training.
"""
