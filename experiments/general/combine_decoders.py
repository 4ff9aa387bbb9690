"""Decoders of several weights files in one, or averaged.

Input: weights files of step 4 in the work folder; the shipped model `general` as a file `shipped`
(its decoders, in the order of the experiment's vocabulary).

Output in the work folder: NAME.safetensors. `--average` keeps the members' number: weights that
were trained on from the first file, averaged with it (Wortsman et al., Robust fine-tuning of
zero-shot models, 2022). Without it, the members of all files stand one after another.
"""

from __future__ import annotations

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from first_decoders import member_weights
from places import Places, open_places, step_parser
from showtell.nets.gated_decoder import GatedDecoder
from showtell.training.warm_start import open_initial_model
from words import count_words, ids_of

SHIPPED_DECODERS = "shipped"
_BY_WORD = ("embed.weight", "word.weight", "word.bias")


def members_of(places: Places, name: str) -> list[dict[str, Tensor]]:
    """Return the weights of each decoder of a file, or of the shipped model."""
    if name == SHIPPED_DECODERS:
        return _shipped_members(places)
    stored = load_file(places.work / f"{name}.safetensors")
    count = 1 + max(int(key.split(".")[1]) for key in stored if key.startswith("members."))
    return [member_weights(stored, number) for number in range(count)]


def _shipped_members(places: Places) -> list[dict[str, Tensor]]:
    initial = open_initial_model("general")
    if not isinstance(initial.model.decoder, GatedDecoder):
        raise SystemExit("general: should have gated decoders")
    ids = ids_of(initial.vocabulary)
    order = torch.tensor([ids[word] for word in count_words(places).vocabulary.words])
    members = []
    for member in initial.model.decoder.members:
        weights = dict(member.state_dict())
        members.append({key: w[order] if key in _BY_WORD else w for key, w in weights.items()})
    return members


def main() -> None:
    """Write one file from several."""
    parser = step_parser(__doc__)
    parser.add_argument("--average", type=float, help="share of the second of two files")
    parser.add_argument("files", nargs="+", help="names of weights files, or `shipped`")
    parser.add_argument("name", help="of the file to write")
    options = parser.parse_args()
    places = open_places(options)
    groups = [members_of(places, name) for name in options.files]
    if options.average is None:
        members = [member for group in groups for member in group]
    else:
        first, second = groups
        members = [
            {key: w.lerp(trained[key], options.average) for key, w in start.items()}
            for start, trained in zip(first, second, strict=True)
        ]
    weights = {
        f"members.{number}.{key}": w.clone()
        for number, member in enumerate(members)
        for key, w in member.items()
    }
    save_file(weights, places.work / f"{options.name}.safetensors")


if __name__ == "__main__":
    main()
