"""Measure how many documents a second `showtell alt check` reads, by format.

    python benchmarks/alt.py FOLDER... [--count 5000]

The documents are those in the folders: documentation trees of packages, for example. They are read
again until there are `--count` of a format. Times are processor time, because the machine may be
busy, of one process on one core; captioning is not part of it.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import Counter, defaultdict
from pathlib import Path

from showtell.alt.check import CheckCounts, FoundDocument, check_documents, find_documents
from showtell.alt.markup import markup_of


def measure(documents: list[FoundDocument], count: int) -> str:
    """Check `count` documents, and return the figures as a line of a table."""
    chosen = list(itertools.islice(itertools.cycle(documents), count))
    size = sum(document.path.stat().st_size for document in chosen)
    counts, rules, errors = CheckCounts(), Counter[str](), []
    started = time.process_time()
    for finding in check_documents(chosen, counts=counts, report=errors.append):
        rules[finding.problem.rule.id] += 1
    seconds = time.process_time() - started
    return (
        f"{count:,} ({len(documents):,} different), {size / count / 1000:.0f} kB each:"
        f" {seconds:.1f} s, {count / seconds:,.0f} a second, {size / seconds / 1e6:.1f} MB/s;"
        f" {counts.images:,} images, {rules.total():,} findings, {len(errors)} unreadable"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=5000)
    options = parser.parse_args()
    by_markup = defaultdict(list)
    for document in find_documents(options.folders, report=print):
        by_markup[markup_of(document.path)].append(document)
    for markup, documents in sorted(by_markup.items(), key=str):
        print(f"{markup}: {measure(documents, options.count)}")


if __name__ == "__main__":
    main()
