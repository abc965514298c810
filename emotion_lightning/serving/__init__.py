"""Trained models in use: the model package, recordings of any length, the server, other formats."""
