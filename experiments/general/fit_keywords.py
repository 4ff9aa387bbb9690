"""Keywords of a photo (experiments 68 and 71, not in the product): which nouns are right.

A noun's probability is that of its synonyms together. A logistic regression corrects it with
whether the caption says the noun, whether object classes know it, and how frequent it is.

Input: the stacked logits of step 3, captions of the dev sets by `choose_strength.py`.

Output: the share of right keywords on the screen, and in the work folder `keywords.json` with the
coefficients.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dev_scores import named_nouns
from places import COCO_FIRST_HALF, EXAMPLES, FIRST_HALF, open_places, step_parser
from showtell.scoring.main_nouns import nouns
from showtell.vocabulary import tokenize
from stack_logits import Detection
from words import Floats, Words, count_words

INPUTS = (
    "log_odds",
    "said",
    "log_odds_said",
    "object",
    "log_odds_object",
    "colour",
    "verb",
    "log_frequency",
)
SURE, SHOWN, MOST_SHOWN = 0.5, 0.08, 5
PENALTY = 0.01
_COLOURS = """
black white red blue green yellow orange pink brown grey gray purple tan dark light bright
colorful striped
"""
COLOURS = frozenset(_COLOURS.split())
_VERBS = """
rides jumps plays runs walks takes gets smiles watches holds poses
"""
VERBS = frozenset(_VERBS.split())  # beside those in -ing
# not shown as keywords
_NOT_NOUNS = """
young little old older elderly tall short long blond blonde haired dirty wet bright dark light
colorful striped asian african different another full empty open close closeup same own first
second top bottom left right middle high low deep wooden stone metal grassy snowy rocky sandy
muddy plaid busy crowded outdoor outdoors outside inside indoors covered dressed filled
surrounded seated parked painted decorated someone something people's man's one two large small
big red white black blue green yellow orange pink brown grey gray purple tan multicolored bare
shirtless naked beside past along others like time way day area set line lot piece made held
seen taken while which each they them there well still ready nearby overhead uphill downhill
together alone upside american professional male female adult teenage blurry day view scene shot
edge ground stands other many no run runs walk walks play plays jump jumps sit sits stand stands
ride rides climb climbs take takes get gets hold holds look looks watch watches smile smiles
make makes carry carries catch catches throw throws hit hits do does eat eats try tries go goes
come comes pose poses lay lays lie lies fly flies swim swims chase chases leap leaps kick kicks
wait waits hang hangs dance dances rest rests fall falls swing swings perform performs bite
bites pull pulls push pushes splash splashes slide slides drive drives lean leans cross crosses
race races be being have having shake shakes skate jumped ran raised dressed made
"""
NOT_NOUNS = frozenset(_NOT_NOUNS.split())
_NOUNS_IN_ING = """
building clothing ceiling painting string ring swing railing wedding parking king wing camping
skiing surfing
"""
NOUNS_IN_ING = frozenset(_NOUNS_IN_ING.split())


@dataclass(frozen=True)
class Fit:
    """The coefficients of a regression: one for each of `INPUTS`, and a bias."""

    weights: tuple[float, ...]
    bias: float

    def probabilities(self, inputs: Floats) -> Floats:
        """Return the probability of each noun, [photos, nouns]."""
        logits = inputs @ np.array(self.weights, np.float32) + self.bias
        probabilities: Floats = 1 / (1 + np.exp(-logits))
        return probabilities


class Keywords:
    """The groups of concepts that are one keyword: synonyms, or a word alone."""

    def __init__(self, words: Words, frequency: Floats) -> None:
        self.concepts, self.frequency = words.concepts, frequency
        self.object_words = words.object_words
        self.group: dict[str, int] = {}
        self.names: list[str] = []
        column = {word: i for i, word in enumerate(words.concepts)}
        for noun in nouns():
            members = [w for w in noun.synonyms if w in column and w not in self.group]
            if members:
                self.group |= dict.fromkeys(members, len(self.names))
                frequent = max(members, key=lambda word: frequency[column[word]])
                self.names.append(noun.name if noun.name in column else frequent)
        for word in words.concepts:
            if word not in self.group:
                self.group[word] = len(self.names)
                self.names.append(word)
        self.members = np.zeros((len(words.concepts), len(self.names)), np.float32)
        for word, group in self.group.items():
            self.members[column[word], group] = 1

    @cached_property
    def is_shown(self) -> list[bool]:
        """Which keywords are nouns, as far as their form says."""
        return [
            name not in NOT_NOUNS
            and not (name.endswith("ing") and name not in NOUNS_IN_ING)
            and not name.endswith("ly")
            for name in self.names
        ]

    def inputs(self, logits: Floats, captions: Sequence[str]) -> Floats:
        """Return the regression's inputs, [photos, nouns, `INPUTS`]."""
        one = self._of_groups(1 / (1 + np.exp(-logits)))
        clipped = np.clip(one, 1e-6, 1 - 1e-6)
        log_odds = np.log(clipped / (1 - clipped))
        said = np.zeros_like(clipped)
        for row, caption in enumerate(captions):
            said[row, [self.group[w] for w in tokenize(caption) if w in self.group]] = 1
        objects = np.zeros(len(self.names), np.float32)
        objects[[self.group[word] for word in self.object_words]] = 1
        colours = np.array([name in COLOURS for name in self.names], np.float32)
        verbs = np.array([n.endswith("ing") or n in VERBS for n in self.names], np.float32)
        frequency = np.log(np.clip(self._of_groups(self.frequency), 1e-6, 1))
        constants = [np.broadcast_to(x, log_odds.shape) for x in (objects, colours, verbs)]
        is_object, colour, verb = constants
        columns = [log_odds, said, said * log_odds, is_object, is_object * log_odds]
        columns += [colour, verb, np.broadcast_to(frequency, log_odds.shape)]
        return np.stack(columns, -1).astype(np.float32)

    def right(self, references: Sequence[Sequence[str]]) -> Floats:
        """Return 1 for each noun that a photo's captions name, in singular or plural."""
        named = np.zeros((len(references), len(self.names)), np.float32)
        for row, texts in enumerate(references):
            said = {word for text in texts for word in tokenize(text)}
            said |= {word[:-1] for word in said if word.endswith("s")}
            said |= {word + "s" for word in said}
            named[row, [self.group[word] for word in said if word in self.group]] = 1
        return named

    def _of_groups(self, probabilities: Floats) -> Floats:
        """Return the probability that one word of each group is there."""
        none: Floats = np.exp(np.log1p(-probabilities) @ self.members)
        return 1 - none


def fit(parts: Sequence[tuple[Floats, Floats]]) -> Fit:
    """Fit a regression on inputs and labels of sets of photos; sets have equal weights."""
    inputs = torch.from_numpy(np.concatenate([x.reshape(-1, x.shape[-1]) for x, _ in parts]))
    labels = torch.from_numpy(np.concatenate([y.ravel() for _, y in parts]))
    each = [np.full(y.size, 1 / len(y), np.float32) for _, y in parts]
    importance = torch.from_numpy(np.concatenate(each))
    weights = torch.zeros(inputs.shape[-1])
    weights[0] = 1
    weights.requires_grad_()
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss_of_all() -> Tensor:
        optimizer.zero_grad()
        logits = inputs @ weights + bias
        entropy = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        loss = (entropy * importance).sum() + PENALTY * (weights**2).sum()
        loss.backward()
        return loss

    optimizer.step(loss_of_all)
    return Fit(tuple(weights.tolist()), bias.item())


def is_right(word: str, references: Sequence[str]) -> bool:
    """Whether a caption has the word, its singular or plural, or a synonym."""
    said = {token for text in references for token in tokenize(text)}
    accepted = {word, word + "s", word.removesuffix("s")}
    for noun in nouns():
        if word in noun.synonyms:
            accepted |= noun.synonyms
    return bool(accepted & said)


def report(
    title: str,
    keywords: Keywords,
    probabilities: Floats,
    references: Sequence[Sequence[str]],
    captions: Sequence[str],
) -> None:
    """Print how many keywords are sure, how many of them right, and the main nouns named."""
    shown: dict[int, list[str]] = {}
    right: list[bool] = []
    for row, texts in enumerate(references):
        order = [i for i in np.argsort(-probabilities[row]) if keywords.is_shown[i]]
        first = [i for i in order[:MOST_SHOWN] if probabilities[row, i] > SHOWN]
        shown[row] = [keywords.names[i] for i in first]
        sure = [keywords.names[i] for i in order if probabilities[row, i] > SURE]
        right += [is_right(word, texts) for word in sure]
    share = 100 * sum(right) / max(1, len(right))
    print(title, f"{len(right) / len(references):.2f} a photo, {share:.1f} % right,", end=" ")
    print("with keywords", named_nouns(references, captions, shown))


def main() -> None:
    """Fit on both first halves, and report on COCO, on its halves and on Flickr8k."""
    parser = step_parser(__doc__)
    parser.add_argument("captions", type=Path, help="a file of choose_strength.py")
    options = parser.parse_args()
    places = open_places(options)
    words = count_words(places)
    detection = Detection(places, words)
    keywords = Keywords(words, detection.frequency)
    captions = json.loads(options.captions.read_text("utf-8"))
    coco = [photo.captions for photo in places.coco_dev]
    flickr8k = [p.captions for p in places.flickr8k.split("dev")][: len(captions["dev"])]
    inputs = {
        name: keywords.inputs(detection.logits(name)[: len(texts)], texts)
        for name, texts in captions.items()
    }
    half, labels = COCO_FIRST_HALF, keywords.right(flickr8k)
    flickr8k_half = (inputs["dev"][:FIRST_HALF], labels[:FIRST_HALF])
    both = fit([(inputs["coco_dev"][:half], keywords.right(coco)[:half]), flickr8k_half])
    (places.work / "keywords.json").write_text(
        json.dumps({"inputs": INPUTS, **asdict(both)}, indent=2) + "\n"
    )
    probabilities = both.probabilities(inputs["coco_dev"])
    said = captions["coco_dev"]
    report("coco", keywords, probabilities, coco, said)
    report("coco, first half", keywords, probabilities[:half], coco[:half], said[:half])
    report("coco, second half", keywords, probabilities[half:], coco[half:], said[half:])
    report("flickr8k", keywords, both.probabilities(inputs["dev"]), flickr8k, captions["dev"])
    alone = fit([flickr8k_half]).probabilities(inputs["coco_dev"])
    report("coco, fitted on flickr8k alone", keywords, alone, coco, said)
    print_examples(keywords, both.probabilities(inputs["examples"]), captions["examples"])


def print_examples(keywords: Keywords, probabilities: Floats, captions: Sequence[str]) -> None:
    """Print the caption and the keywords of each example."""
    for row, example in enumerate(EXAMPLES):
        order = [i for i in np.argsort(-probabilities[row]) if keywords.is_shown[i]]
        best = [f"{keywords.names[i]} {probabilities[row, i]:.2f}" for i in order[:MOST_SHOWN]]
        print(f"    {example}: {captions[row]} ({', '.join(best)})")


if __name__ == "__main__":
    main()
