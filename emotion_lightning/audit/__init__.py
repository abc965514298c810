"""Finds what two splits share: speakers, sentences, clips, equal audio and near-duplicate recordings."""
