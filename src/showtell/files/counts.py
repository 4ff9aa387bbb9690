"""Counts of things in messages, in the singular or plural."""

from __future__ import annotations


def count_of(count: int, noun: str) -> str:
    """Return a count and its noun, such as `1 photo` or `2,000 photos`; the plural is noun + s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
