"""Run the command line: `python -m showtell`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is being imported is no traceback either."""
    try:
        from showtell.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("showtell: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
