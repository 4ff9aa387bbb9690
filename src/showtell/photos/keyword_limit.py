"""The probability from which on a keyword counts as right, unless an option says otherwise."""

from __future__ import annotations

PROBABLE = 0.5  # such keywords are more often right than wrong
