from __future__ import annotations

import csv

import pytest

from showtell.files.csv_text import csv_row, escape_csv_formula, unescape_csv_formula


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1"])
def test_formulas_are_escaped(cell: str) -> None:
    assert escape_csv_formula(cell) == f"'{cell}"


def test_other_text_is_unchanged_and_stray_bytes_are_spelled_out() -> None:
    assert escape_csv_formula("a dog = a friend") == "a dog = a friend"
    assert escape_csv_formula("\udcff.jpg") == "\\udcff.jpg"


@pytest.mark.parametrize(
    "start", ["", "'", "''", "a", "'a", "=", "-", "\n", "@'", "'=", "''+", "a="]
)
def test_every_text_is_restored_from_its_cell(start: str) -> None:
    for text in (start, f"{start}1", f"{start}'"):
        assert unescape_csv_formula(escape_csv_formula(text)) == text


def test_rows_read_back() -> None:
    cells = ["a", "b,c", '"', "one\ntwo", "\r", ""]
    row = csv_row(cells)
    assert row.endswith("\n")
    assert not row.endswith("\r\n")
    assert next(csv.reader([row])) == cells
