"""Limit the 8-bit weights of a bundle as today's export does, and measure the bundle again.

    python experiments/requantize.py src/showtell/bundles/flickr8k runs/flickr8k-exact \
        --data ../shared/flickr8k

For bundles whose training run is gone. Scores, confidence and the model card are those of the new
files; the notes of the card stay.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import onnx

from showtell.bundle import (
    CARD,
    DECODER_BEGIN,
    DECODER_STEP,
    Bundle,
    ScoreInfo,
    load_bundle,
    save_bundle,
)
from showtell.bundle.bundle import read_card
from showtell.bundle.model_card import model_card
from showtell.captioner import Captioner
from showtell.data import open_dataset
from showtell.export.calibration import fit_confidence
from showtell.export.exact_products import with_exact_products
from showtell.scoring.evaluate import evaluate


def notes_of(bundle: Bundle) -> str:
    """Return what a person wrote on a bundle's card."""
    card = read_card(bundle.path)
    _, _, rest = card.partition("## Strengths and limits\n")
    notes, _, _ = rest.rpartition("## Terms\n")
    return notes


def main() -> None:
    """Write the limited bundle, then write it again with its scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", required=True, help="dataset whose dev photos score the bundle")
    options = parser.parse_args()
    before = load_bundle(options.bundle)
    files = {name: before.file(name).read_bytes() for name in before.manifest.files}
    for name in (DECODER_BEGIN, DECODER_STEP):
        graph = with_exact_products(onnx.load_model_from_string(files[name]))
        files[name] = bytes(graph.SerializeToString())
    bundle = save_bundle(options.out, before.manifest, files)
    dataset = open_dataset(options.data)
    scores = evaluate(Captioner(bundle, threads=1), dataset).summary()
    for old, new in zip(before.manifest.scores, scores, strict=True):
        print(f"{old.part}: CIDEr {old.cider:.2f} before, {new['cider']:.2f} now")
    manifest = replace(
        before.manifest,
        scores=tuple(ScoreInfo(**part) for part in scores),
        confidence=fit_confidence(bundle, dataset),
    )
    files[CARD] = model_card(manifest, before.vocabulary, notes_of(before)).encode()
    save_bundle(options.out, manifest, files)


if __name__ == "__main__":
    main()
