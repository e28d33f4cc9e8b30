"""Predictors to compare with: without a model (effects), and centralised ones (all others)."""
