"""Step 7: scores, calibration of the confidence, and the model card.

Input: the bundle of step 6, Flickr8k's and COCO's dev photos with captions.

Output: the finished bundle, as it ships in `src/showtell/bundles/general`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from places import open_places, step_parser
from showtell.bundle import CARD, ScoreInfo, load_bundle, save_bundle
from showtell.bundle.model_card import model_card
from showtell.captioner import Captioner
from showtell.data import open_dataset
from showtell.export.calibration import fit_confidence
from showtell.scoring.evaluate import evaluate

NOTES = """
It writes about more kinds of photos than the model `flickr8k`: its decoders start from that model's and learned, from 117,680
captions of other photos as text and from what they themselves wrote about 5,855 photos without captions, to write about
what a second network detects. That network is EfficientNet-Lite2, which was
trained on the 1,000 kinds of objects of ImageNet; a table turns them into 482 words. On 183 photos of COCO, a dataset
of whose captions it saw none: CIDEr {cider:.1f} against 35.0 of `flickr8k`, METEOR {meteor:.1f} against 16.6.

It still prefers people and dogs. It knows nothing that is neither in Flickr8k's captions nor in ImageNet's classes, such as
giraffes, and an object that is detected wrongly is named with the same confidence. Confidence is fitted on Flickr8k and
COCO, half of each dev set.
It needs about 1.25 times the time of `flickr8k` for a photo.
"""  # noqa: E501


def main() -> None:
    """Measure the bundle, calibrate it and write its card."""
    parser = step_parser(__doc__)
    parser.add_argument("bundle", type=Path, help="folder of step 6")
    parser.add_argument("out", type=Path, help="folder of the finished bundle")
    options = parser.parse_args()
    places = open_places(options)
    bundle = load_bundle(options.bundle)
    captioner = Captioner(bundle, threads=1)
    coco_dev = places.data / "coco" / "dev"
    coco = evaluate(captioner, coco_dev).summary()
    dev = evaluate(captioner, places.flickr8k).summary()
    for part in (*coco, *dev):
        print(part, flush=True)
    manifest = replace(bundle.manifest, scores=tuple(ScoreInfo(**part) for part in dev))
    confidence = fit_confidence(bundle, places.flickr8k, open_dataset(coco_dev))
    manifest = replace(manifest, confidence=confidence)
    notes = NOTES.format(cider=coco[0]["cider"], meteor=coco[0]["meteor"])
    files = {name: bundle.file(name).read_bytes() for name in manifest.files if name != CARD}
    files[CARD] = model_card(manifest, bundle.vocabulary, notes).encode()
    save_bundle(options.out, manifest, files)


if __name__ == "__main__":
    main()
