"""Searches good settings of one experiment by its training side, and writes them as a new experiment file."""
