"""Findings as SARIF 2.1.0, the exchange format of static analysis (OASIS, 2020)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from showtell import __version__
from showtell.alt.check import AltFinding
from showtell.alt.reports import message_with_suggestion
from showtell.alt.rules import RULES
from showtell.alt.suggestion import Suggestion

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_REPOSITORY = "https://github.com/showtell/showtell"


def sarif_report(results: Iterable[tuple[AltFinding, Suggestion | None]]) -> str:
    """Return a SARIF log of one run, with a newline; a suggestion that can be written is a fix.

    Columns count Unicode characters. Paths inside the current folder are relative to it.
    """
    rule_ids = list(RULES)
    log = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "showtell",
                        "version": __version__,
                        "informationUri": _REPOSITORY,
                        "rules": [
                            {
                                "id": rule.id,
                                "shortDescription": {"text": rule.text},
                                "help": {"text": f"{rule.text} ({rule.source})"},
                                "helpUri": rule.address,
                                "defaultConfiguration": {"level": rule.level},
                            }
                            for rule in RULES.values()
                        ],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [
                    _result(finding, suggestion, rule_ids) for finding, suggestion in results
                ],
            }
        ],
    }
    return json.dumps(log, indent=2) + "\n"


def _result(
    finding: AltFinding, suggestion: Suggestion | None, rule_ids: list[str]
) -> dict[str, object]:
    rule, reference = finding.problem.rule, finding.reference
    location = {"uri": _uri(finding.document.path)}
    result: dict[str, object] = {
        "ruleId": rule.id,
        "ruleIndex": rule_ids.index(rule.id),
        "level": rule.level,
        "message": {"text": message_with_suggestion(finding, suggestion)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": location,
                    "region": _region(finding, reference.start, reference.end),
                }
            }
        ],
    }
    if suggestion is None or suggestion.text is None:
        return result
    if suggestion.confidence is not None:
        result["rank"] = round(100 * suggestion.confidence, 1)
    if reference.slot is not None and not suggestion.reason:
        slot = reference.slot
        replacement = {
            "deletedRegion": _region(finding, slot.start, slot.end),
            "insertedContent": {"text": slot.rendered(suggestion.text)},
        }
        change = {"artifactLocation": location, "replacements": [replacement]}
        description = {"text": "Use the suggested alternative text."}
        result["fixes"] = [{"description": description, "artifactChanges": [change]}]
    return result


def _region(finding: AltFinding, start: int, end: int) -> dict[str, int]:
    line, column = finding.document.line_and_column(start)
    end_line, end_column = finding.document.line_and_column(end)
    return {
        "startLine": line,
        "startColumn": column,
        "endLine": end_line,
        "endColumn": end_column,
    }


def _uri(path: Path) -> str:
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 (links in the path stay)
    try:
        return quote(absolute.relative_to(Path.cwd()).as_posix().encode(errors="surrogateescape"))
    except ValueError:
        return "file://" + quote(absolute.as_posix().encode(errors="surrogateescape"))
