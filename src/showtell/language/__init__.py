"""Languages of captions: how text becomes words, and how words become text again."""

from __future__ import annotations
