"""`python -m showtell` and the `showtell` command."""

from __future__ import annotations

from showtell.cli import main

if __name__ == "__main__":
    main()
