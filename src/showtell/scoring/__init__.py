"""Caption scores as in papers, the HTML report, and the comparison of models.

Functions import heavy packages when they need them, so that the light install can read and compare
saved evaluations.
"""

from __future__ import annotations

from showtell.errors import ShowtellError


class ScoringError(ShowtellError):
    """Captions cannot be scored, or a saved evaluation cannot be read or compared."""
