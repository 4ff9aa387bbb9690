"""Findings as text, JSON lines, and annotations of GitHub Actions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Literal

from showtell.alt.check import AltFinding
from showtell.alt.suggestion import Suggestion
from showtell.files.printable_names import printable

ReportFormat = Literal["text", "jsonl", "sarif", "github"]
_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}  # of GitHub Actions


def finding_line(
    finding: AltFinding, suggestion: Suggestion | None, form: ReportFormat, *, mark: str = ""
) -> str:
    """Return a finding, and what is suggested for it, as a line of text, JSONL or annotations.

    Text is `path:line:column: rule: message`, with the suggestion and `mark` on a second line.
    """
    lines: dict[str, Callable[[], str]] = {
        "text": lambda: _text(finding, suggestion, mark),
        "jsonl": lambda: json.dumps(_record(finding, suggestion)),
        "github": lambda: _annotation(finding, suggestion),
    }
    return lines[form]() + "\n"


def message_with_suggestion(finding: AltFinding, suggestion: Suggestion | None) -> str:
    """Return the message of a finding, followed by what is suggested for it."""
    message = finding.problem.message
    if suggestion is None:
        return message
    if suggestion.text is None:
        return f"{message} ({suggestion.reason})"
    return f'{message}; suggested: "{suggestion.text}"{_confidence(suggestion)}'


def _text(finding: AltFinding, suggestion: Suggestion | None, mark: str) -> str:
    line, column = finding.line_and_column
    path = printable(os.fspath(finding.document.path))
    source = _shown_source(finding.reference.sources)
    where = "" if source is None else f" ({printable(source)})"
    text = f"{path}:{line}:{column}: {finding.problem.rule.id}: {finding.problem.message}{where}"
    if suggestion is None:
        return text
    if suggestion.text is None:
        return f"{text}\n    no suggestion: {suggestion.reason}"
    return f"{text}\n    {printable(suggestion.text)}{_confidence(suggestion)}{mark}"


def _record(finding: AltFinding, suggestion: Suggestion | None) -> dict[str, object]:
    line, column = finding.line_and_column
    reference, rule = finding.reference, finding.problem.rule
    record: dict[str, object] = {
        "path": os.fspath(finding.document.path),
        "line": line,
        "column": column,
        "rule": rule.id,
        "level": rule.level,
        "message": finding.problem.message,
        "source": _shown_source(reference.sources),
        "alt": reference.alt,
    }
    if suggestion is not None:
        confidence = suggestion.confidence
        record |= {
            "suggestion": suggestion.text,
            "confidence": None if confidence is None else round(confidence, 6),
            "image": None if suggestion.image is None else os.fspath(suggestion.image),
            "reason": suggestion.reason or None,
        }
    return record


def _annotation(finding: AltFinding, suggestion: Suggestion | None) -> str:
    """Return a workflow command of GitHub Actions, which shows the finding beside its line."""
    line, column = finding.line_and_column
    rule = finding.problem.rule
    path = _escaped_property(printable(os.fspath(finding.document.path)))
    message = _escaped(message_with_suggestion(finding, suggestion))
    command = _COMMANDS[rule.level]
    return f"::{command} file={path},line={line},col={column},title={rule.id}::{message}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _confidence(suggestion: Suggestion) -> str:
    return "" if suggestion.confidence is None else f" ({suggestion.confidence:.2f})"


def _shown_source(sources: tuple[str, ...]) -> str | None:
    """Return the first address; of `data:` only its beginning."""
    if not sources:
        return None
    return sources[0].partition(",")[0] + ",…" if sources[0].startswith("data:") else sources[0]
