"""Fits a network or an estimator, evaluates it, and makes it again from its file."""
