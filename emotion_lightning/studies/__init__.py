"""Trains the cells of a study that are missing, on this machine or on a Ray cluster."""
