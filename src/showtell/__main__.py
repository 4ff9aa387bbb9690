"""Run the command line: `python -m showtell`."""

from __future__ import annotations

from showtell.cli import main

if __name__ == "__main__":
    main()
