"""Finds what two sides of a split share: speakers, sentences, clips, and recordings that sound the same."""
