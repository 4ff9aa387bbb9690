"""Step 5: what the log-ratios of detected words are multiplied by, and how many decoders.

Input: NAME.safetensors of step 4, features and logits of the dev sets.

Output: scores on the screen, and in the work folder `captions_MEMBERS_OTHERS_OBJECTS.json` with the
captions of coco_dev, dev and examples, which `fit_keywords.py` reads.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file

from dev_scores import DevSets
from first_decoders import empty_decoder, member_weights, set_strength
from places import open_places, step_parser
from showtell.nets.gated_decoder import GatedDecoder
from stack_logits import Detection
from words import Words, count_words


def load_decoder(
    weights: Path,
    words: Words,
    detection: Detection,
    members: list[int],
    strengths: tuple[float, float] = (1.0, 1.0),
) -> GatedDecoder:
    """Return a trained decoder of some of the members that a file holds, numbered from 0.

    `strengths` are those of other concepts and of object words.
    """
    decoder = empty_decoder(words, detection, len(members))
    stored = load_file(weights)
    for own, number in zip(decoder.members, members, strict=True):
        own.load_state_dict(member_weights(stored, number))
    set_strength(decoder, words, *strengths)
    return decoder.eval()


def main() -> None:
    """Measure pairs of strengths."""
    parser = step_parser(__doc__)
    parser.add_argument("--name", default="decoders", help="of the weights file")
    parser.add_argument("--members", default="0,1", help="decoders of the file to use")
    parser.add_argument("--dev-photos", type=int, default=1000, help="of Flickr8k; 0: COCO only")
    parser.add_argument("strengths", nargs="+", help="pairs OTHERS,OBJECTS as 1,1.5")
    options = parser.parse_args()
    places = open_places(options)
    words = count_words(places)
    dev = DevSets(places, words, Detection(places, words))
    members = [int(number) for number in options.members.split(",")]
    weights = places.work / f"{options.name}.safetensors"
    decoder = load_decoder(weights, words, dev.detection, members)
    for pair in options.strengths:
        others, objects = map(float, pair.split(","))
        set_strength(decoder, words, others, objects)
        captions = {name: dev.captions(decoder, name) for name in ("coco_dev", "examples")}
        captions["dev"] = []
        if options.dev_photos:
            captions["dev"] = dev.captions(decoder, "dev", options.dev_photos)
        flickr8k = dev.flickr8k_scores(captions["dev"]) if captions["dev"] else ""
        print(pair, dev.coco_scores(captions["coco_dev"]), flickr8k, flush=True)
        dev.print_examples(captions["examples"])
        name = f"captions_{options.members}_{others:g}_{objects:g}.json".replace(",", "")
        (places.work / name).write_text(json.dumps(captions, indent=0) + "\n")


if __name__ == "__main__":
    main()
