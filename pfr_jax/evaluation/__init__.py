"""Judging predictions: baselines to compare with, and metrics."""
