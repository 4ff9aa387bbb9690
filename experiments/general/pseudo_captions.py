"""Captions of the unlabelled COCO photos by trained decoders, for students to train on.

Input: NAME.safetensors of step 4, features and logits of the unlabelled photos.

Output in the work folder: `pseudo_captions.json`, for each unlabelled photo the most probable
captions of the beam (sequence-level knowledge distillation: Kim and Rush, 2016).
"""

from __future__ import annotations

import json

from choose_strength import load_decoder
from dev_scores import DevSets
from places import open_places, step_parser
from stack_logits import Detection
from words import count_words

PSEUDO_CAPTIONS = "pseudo_captions.json"


def main() -> None:
    """Caption the unlabelled photos."""
    parser = step_parser(__doc__)
    parser.add_argument("--name", default="decoders", help="of the weights file")
    parser.add_argument("--members", default="0,1,2", help="decoders of the file to use")
    parser.add_argument("--objects", type=float, default=2.0, help="strength of object words")
    parser.add_argument("--beam", type=int, default=5, help="width of the beam")
    parser.add_argument("--length-penalty", type=float, default=1.2, help="1: mean per word")
    parser.add_argument("--captions", type=int, default=2, help="of each photo")
    options = parser.parse_args()
    places = open_places(options)
    words = count_words(places)
    detection = Detection(places, words)
    members = [int(number) for number in options.members.split(",")]
    weights = places.work / f"{options.name}.safetensors"
    decoder = load_decoder(weights, words, detection, members, (1.0, options.objects))
    texts = DevSets(places, words, detection).best_captions(
        decoder,
        "unlabelled",
        beam=options.beam,
        length_penalty=options.length_penalty,
        nbest=options.captions,
    )
    captions = [list(dict.fromkeys(best)) for best in texts]  # each caption once
    (places.work / PSEUDO_CAPTIONS).write_text(json.dumps(captions, indent=0) + "\n")


if __name__ == "__main__":
    main()
