"""SPICE, if the models of its parser are on this machine; nothing is downloaded.

"SPICE: Semantic Propositional Image Caption Evaluation" (Anderson et al., 2016). pycocoevalcap
contains the jar, but not its parser, Stanford CoreNLP 3.6.0 (440 MB).
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
SPICE_HINT = (
    "unpack the two stanford-corenlp-3.6.0*.jar of"
    " http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip into a folder and name"
    f" it in {MODELS_VARIABLE}; SPICE runs on Java 8 to 14, and on newer versions if nashorn-core"
    " is in that folder"
)


def find_models(package: Path) -> Path | None:
    """Return the folder of CoreNLP's jars: $SHOWTELL_SPICE_MODELS or pycocoevalcap's; else None."""
    configured = os.environ.get(MODELS_VARIABLE)
    folders = [Path(configured).expanduser()] if configured else []
    folders.append(package / "spice" / "lib")
    return next((f for f in folders if all((f / jar).is_file() for jar in JARS)), None)


def spice_scores(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    java: Path,
    package: Path,
    models: Path,
) -> list[float | None]:
    """Return each tokenised caption's SPICE multiplied by 100, None if there is nothing to compare.

    Raises ScoringError if the jar fails, for example on a Java without a JavaScript engine.
    """
    data = [
        {"image_id": row, "test": candidate, "refs": list(photo_references)}
        for row, (candidate, photo_references) in enumerate(
            zip(candidates, references, strict=True)
        )
    ]
    folder = package / "spice"
    classes = [folder / "spice-1.0.jar", *(models / jar for jar in JARS)]
    classpath = os.pathsep.join([*map(str, classes), str(models / "*"), str(folder / "lib" / "*")])
    with tempfile.TemporaryDirectory(prefix="showtell-spice-") as work:
        captions, result = Path(work) / "captions.json", Path(work) / "scores.json"
        captions.write_text(json.dumps(data), encoding="utf-8")
        arguments: list[str | Path] = ["-Xmx8G", "-cp", classpath, "edu.anu.spice.SpiceScorer"]
        run_java(java, [*arguments, captions, "-out", result, "-silent"], "", "SPICE")
        return read_spice_result(result, len(data))


def read_spice_result(result: Path, photos: int) -> list[float | None]:
    """Return the scores that the SPICE jar wrote, in the order of the captions.

    Raises ScoringError if they are not the scores of `photos` captions.
    """
    try:
        items = json.loads(result.read_text(encoding="utf-8"))
        scores = {int(item["image_id"]): item["scores"]["All"]["f"] for item in items}
        return [None if scores[n] is None else 100.0 * float(scores[n]) for n in range(photos)]
    except (OSError, ValueError, KeyError, TypeError):
        raise ScoringError("SPICE wrote no scores: " + SPICE_HINT) from None
