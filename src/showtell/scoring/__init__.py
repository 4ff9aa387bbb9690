"""Scores as papers report them, the HTML report, and the comparison of models.

Heavy packages are imported inside the functions that need them; reading and comparing saved
evaluations works in the light install.
"""

from __future__ import annotations

from showtell.errors import ShowtellError


class ScoringError(ShowtellError):
    """Captions cannot be scored, or a saved evaluation cannot be read or compared."""
