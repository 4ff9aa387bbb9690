from __future__ import annotations

import io
import sys

import pytest

from showtell.files.progress import progress_bar


def drawn(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, shown: bool | None = None) -> str:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(3, description="captioning", shown=shown) as bar:
        bar.update(3)
    return stream.getvalue()


def test_bar_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "captioning" in drawn(monkeypatch, terminal=True)
    assert drawn(monkeypatch, terminal=False) == ""


def test_bar_can_be_switched_on_and_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, terminal=True, shown=False) == ""
    assert "captioning" in drawn(monkeypatch, terminal=False, shown=True)
