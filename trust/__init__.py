"""Faults on purpose, and proof that nothing is lost by them: `make trust`."""
