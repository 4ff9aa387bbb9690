"""Decoding: beam search, sampling and confidence over any decoder (numpy only)."""
