"""SPICE, where its parser's models are on this machine; nothing is ever downloaded.

"SPICE: Semantic Propositional Image Caption Evaluation" (Anderson et al., 2016). The jar comes with
pycocoevalcap; the Stanford CoreNLP 3.6.0 it parses with (440 MB) does not.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from showtell.scoring import ScoringError
from showtell.scoring.java import run_java

MODELS_VARIABLE = "SHOWTELL_SPICE_MODELS"
JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
HOW_TO_GET = (
    "unpack the two stanford-corenlp-3.6.0*.jar of"
    " http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip into a folder and name"
    f" it in {MODELS_VARIABLE}; it runs on Java 8 to 14, on newer ones with nashorn-core beside"
)


def find_models(package: Path) -> Path | None:
    """Return the folder that holds CoreNLP's jars: $SHOWTELL_SPICE_MODELS or pycocoevalcap's."""
    chosen = os.environ.get(MODELS_VARIABLE)
    folders = [Path(chosen).expanduser()] if chosen else []
    folders.append(package / "spice" / "lib")
    return next((f for f in folders if all((f / jar).is_file() for jar in JARS)), None)


def spice_scores(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    java: Path,
    package: Path,
    models: Path,
) -> list[float | None]:
    """Return each tokenised caption's SPICE in hundredths; None where there is nothing to compare.

    Raises ScoringError where the jar fails, as it does on a Java without a JavaScript engine.
    """
    data = [
        {"image_id": place, "test": candidate, "refs": list(own)}
        for place, (candidate, own) in enumerate(zip(candidates, references, strict=True))
    ]
    folder = package / "spice"
    classes = [folder / "spice-1.0.jar", *(models / jar for jar in JARS)]
    classpath = os.pathsep.join([*map(str, classes), str(models / "*"), str(folder / "lib" / "*")])
    with tempfile.TemporaryDirectory(prefix="showtell-spice-") as work:
        given, result = Path(work) / "captions.json", Path(work) / "scores.json"
        given.write_text(json.dumps(data), encoding="utf-8")
        arguments: list[str | Path] = ["-Xmx8G", "-cp", classpath, "edu.anu.spice.SpiceScorer"]
        run_java(java, [*arguments, given, "-out", result, "-silent"], "", "SPICE")
        return read_result(result, len(data))


def read_result(result: Path, photos: int) -> list[float | None]:
    """Read the scores that the SPICE jar wrote, in the order of the captions.

    Raises ScoringError where they are not those of `photos` captions.
    """
    try:
        items = json.loads(result.read_text(encoding="utf-8"))
        found = {int(item["image_id"]): item["scores"]["All"]["f"] for item in items}
        return [None if found[n] is None else 100.0 * float(found[n]) for n in range(photos)]
    except (OSError, ValueError, KeyError, TypeError):
        raise ScoringError("SPICE wrote no scores: " + HOW_TO_GET) from None
