"""Write an exported bundle without its encoder, which is byte for byte that of another model.

    python experiments/german/share_encoder.py BUNDLE OUTPUT --with flickr8k

The manifest keeps the encoder's sha256 and names the other model (`encoder.shared_with`). The
terms are those of German captions (Multi30K) of Flickr8k's photos.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from showtell.bundle import CARD, ENCODER, MANIFEST, load_bundle, sha256
from showtell.bundle.model_card import model_card
from showtell.bundle.registry import find_bundle

DATASET = "Multi30K's German captions of Flickr8k's photos, on an encoder trained on Flickr8k"
TERMS = (
    "Trained on photos of Flickr8k (Hodosh, Young and Hockenmaier, 2013) with German captions of"
    " Multi30K (Elliott, Frank, Sima'an and Specia, 2016), both for non-commercial research and"
    " education; the photos belong to their photographers."
)
NOTES = """\
It describes what its training photos show: dogs, people, sports, water, snow. For other photos it
gives the nearest description that it knows, in the same tone: check `confidence`, and the photo.
Of 30 captions of dev photos that were read for grammar, all had the right capitals and 29 the
right articles and cases; three had a wrong preposition, two no verb, and one an unfinished clause.
"""


def main() -> None:
    """Check that the encoders are the same, and write the bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--with", dest="model", required=True)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    other = load_bundle(find_bundle(arguments.model))
    if bundle.manifest.files[ENCODER] != other.manifest.files[ENCODER]:
        parser.error(f"{ENCODER} of {arguments.bundle} is not that of {arguments.model}")
    manifest = replace(
        bundle.manifest,
        encoder=replace(bundle.manifest.encoder, shared_with=arguments.model),
        training=replace(bundle.manifest.training, dataset=DATASET),
        terms=TERMS,
    )
    arguments.output.mkdir(parents=True)
    for name in bundle.manifest.files:
        if name not in (ENCODER, CARD):
            shutil.copyfile(bundle.file(name), arguments.output / name)
    card = arguments.output / CARD
    card.write_text(model_card(manifest, bundle.vocabulary, NOTES), encoding="utf-8")
    files = manifest.files | {CARD: sha256(card)}
    text = replace(manifest, files=files).to_json()
    (arguments.output / MANIFEST).write_text(text, encoding="utf-8")
    load_bundle(arguments.output)


if __name__ == "__main__":
    main()
