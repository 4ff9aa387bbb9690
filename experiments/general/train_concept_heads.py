"""Step 2: the logits of detected words, from three sources.

Input: `SET_regions.npy` and `SET_windows.npy` of step 1, Flickr8k's captions.

Output in the work folder: `second_head.safetensors` (the concept head on EfficientNet-Lite2's
features), `object_odds.json` (the coefficients of the classes' log-odds) and `logits.npz` with
`first_SET` (the shipped concept head, [photos, content words]), `second_SET` (the new head, the
same; of the training photos by heads that were trained without them, in three folds) and
`objects_SET` (the classes, [photos, object words]).

Random, from the seed 0: the photos that the coefficients are fitted on, order, dropout, folds.
"""

from __future__ import annotations

import json
import time

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from extract_features import SETS
from object_network import load_object_network, object_odds
from places import FIRST_HALF, SHIPPED_MODEL, Places, open_places, step_parser
from showtell.training.concept_training import MOST_COMMON, RAREST
from showtell.training.warm_start import open_initial_model
from words import Floats, Integers, Words, count_words, split_shares

TRAIN_PHOTOS = 6000
CHANNELS, WINDOWS = 1280, 9
FITTED_PHOTOS = 3000  # on which the coefficients of the classes are fitted
LEAST_PHOTOS = 3  # whose captions contain a word that has its own bias
EPOCHS, FOLD_EPOCHS, FOLDS = 7, 5, 3
BATCH, LEARNING_RATE, WEIGHT_DECAY, WARM_UP, DROPOUT = 64, 1e-3, 1e-3, 50, 0.3


def fit_object_odds(odds: Floats, shares: Floats, steps: int = 300) -> tuple[Floats, Floats]:
    """Return the weights [3] of a word's log-odds and each word's bias, shrunk to a common one."""
    weights = torch.tensor([0.4, 0.2, 0.2], requires_grad=True)
    own = torch.zeros(shares.shape[1], requires_grad=True)
    common = torch.tensor(0.0, requires_grad=True)
    inputs, targets = torch.tensor(odds), torch.tensor(shares)
    optimizer = torch.optim.Adam([weights, own, common], 0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        logits = (inputs * weights).sum(-1) + common + own
        loss = functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        loss = loss + 0.5 * (own**2).sum() * 1.0
        (loss / len(shares)).backward()
        optimizer.step()
    print("objects", weights.tolist(), float(common.detach()), float(own.detach().std()))
    return weights.detach().numpy(), (own + common).detach().numpy()


def object_logits(
    network: nn.Module,
    places: Places,
    words: Words,
    shares: Floats,
    random: np.random.Generator,
) -> dict[str, Floats]:
    """Fit the coefficients and return the classes' logits of each set, [photos, object words]."""
    odds = {name: object_odds(network, places.windows(name), words) for name in SETS}
    columns = words.object_columns
    seen = (shares[:, columns] > 0).sum(0)
    fitted = random.permutation(TRAIN_PHOTOS)[:FITTED_PHOTOS]
    common = seen >= LEAST_PHOTOS
    weights, bias = fit_object_odds(
        odds["train"][fitted][:, common], shares[fitted][:, columns[common]]
    )
    # words without training photos: as likely to be said, when they are seen, as the others
    biases = np.full(len(words.object_words), np.median(bias))
    biases[common] = bias
    coefficients = {"weights": weights.tolist(), "biases": biases.tolist()}
    (places.work / "object_odds.json").write_text(json.dumps(coefficients, indent=0) + "\n")
    return {n: ((x * weights).sum(-1) + biases).astype(np.float32) for n, x in odds.items()}


class SecondHead(nn.Module):
    """A concept head on the features of the object network, of the whole photo and of windows."""

    def __init__(self, scale: Tensor, frequency: Floats) -> None:
        super().__init__()
        self.scale = scale  # standard deviation of the features
        self.photo = nn.Linear(CHANNELS, len(frequency))
        self.window = nn.Linear(CHANNELS, len(frequency), bias=False)
        nn.init.zeros_(self.photo.weight)
        nn.init.zeros_(self.window.weight)
        self.photo.bias.data = torch.from_numpy(frequency).clamp(1e-4, 0.99).logit()

    def forward(self, windows: Tensor, dropout: float = 0.0) -> Tensor:
        """Return logits [photos, content words] for windows [photos, 10, channels]."""
        windows = functional.dropout(windows / self.scale, dropout)
        photo: Tensor = self.photo(windows[:, 0])
        logits: Tensor = photo + self.window(windows[:, 1:]).logsumexp(1) - np.log(WINDOWS)
        return logits


def mean_average_precision(logits: Floats, shares: Floats) -> float:
    """Return the mean over words in the captions of 2 to 50 % of the photos, times 100."""
    present = shares > 0
    frequency = present.mean(0)
    columns = np.flatnonzero((frequency >= RAREST) & (frequency <= MOST_COMMON))
    order = np.argsort(-logits[:, columns], 0, kind="stable")
    ranked = np.take_along_axis(present[:, columns], order, 0)
    precision = ranked.cumsum(0) / np.arange(1, len(ranked) + 1)[:, None]
    return 100 * float(((precision * ranked).sum(0) / ranked.sum(0)).mean())


class HeadTraining:
    """Training of second heads: on Flickr8k's captions, and on COCO photos by their classes."""

    def __init__(
        self,
        windows: dict[str, Tensor],
        shares: dict[str, Floats],
        objects: dict[str, Floats],
        words: Words,
        random: np.random.Generator,
    ) -> None:
        self.windows, self.shares, self.random = windows, shares, random
        self.scale = windows["train"][:, 0].std()
        self.frequency = shares["train"].mean(0)
        self.targets = torch.from_numpy(shares["train"])
        of_classes = objects["unlabelled"][:, words.content_object]
        self.class_targets = torch.from_numpy(1 / (1 + np.exp(-of_classes)))
        self.is_object = torch.from_numpy(words.content_is_object.astype(np.float32))

    def train(self, photos: Integers, epochs: int) -> SecondHead:
        """Train a head on these training photos and on all COCO photos without captions."""
        head = SecondHead(self.scale, self.frequency)
        optimizer = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        unlabelled = len(self.class_targets)
        total, step = epochs * ((len(photos) + unlabelled) // BATCH), 0
        for epoch in range(epochs):
            # photos of COCO have the negative numbers
            rows = np.concatenate([photos, -1 - np.arange(unlabelled)])
            self.random.shuffle(rows)
            started = time.monotonic()
            for i in range(0, len(rows) - BATCH + 1, BATCH):
                rate = LEARNING_RATE * min(1, step / WARM_UP) * (1 - step / (total + 1))
                for group in optimizer.param_groups:
                    group["lr"] = rate
                step += 1
                optimizer.zero_grad()
                (self._loss(head, rows[i : i + BATCH]) / BATCH).backward()
                optimizer.step()
            print(epoch, *self._dev_precision(head), round(time.monotonic() - started, 1))
        return head

    def _loss(self, head: SecondHead, rows: Integers) -> Tensor:
        captioned = torch.from_numpy(rows[rows >= 0])
        unlabelled = torch.from_numpy(-1 - rows[rows < 0])
        loss = torch.zeros(())
        entropy = functional.binary_cross_entropy_with_logits
        if len(captioned):
            logits = head(self.windows["train"][captioned], DROPOUT)
            loss = loss + entropy(logits, self.targets[captioned], reduction="sum")
        if len(unlabelled):
            logits = head(self.windows["unlabelled"][unlabelled], DROPOUT)
            each = entropy(logits, self.class_targets[unlabelled], reduction="none")
            loss = loss + (each * self.is_object).sum()
        return loss

    def _dev_precision(self, head: SecondHead) -> tuple[float, float]:
        with torch.inference_mode():
            return halves_precision(head(self.windows["dev"]).numpy(), self.shares["dev"])


def halves_precision(logits: Floats, shares: Floats) -> tuple[float, float]:
    """Return the precision on the first half of dev and on the second."""
    first = mean_average_precision(logits[:FIRST_HALF], shares[:FIRST_HALF])
    second = mean_average_precision(logits[FIRST_HALF:], shares[FIRST_HALF:])
    return round(first, 2), round(second, 2)


def second_logits(training: HeadTraining, places: Places) -> dict[str, Floats]:
    """Train the second head and return its logits of each set, [photos, content words]."""
    everything = np.arange(TRAIN_PHOTOS)
    head = training.train(everything, EPOCHS)
    save_file(head.state_dict(), places.work / "second_head.safetensors")
    with torch.inference_mode():
        logits = {name: head(training.windows[name]).numpy() for name in SETS if name != "train"}
    crossed = np.zeros((TRAIN_PHOTOS, len(training.frequency)), np.float32)
    order = training.random.permutation(TRAIN_PHOTOS)
    for fold in range(FOLDS):
        left_out = order[fold::FOLDS]
        head = training.train(np.setdiff1d(everything, left_out), FOLD_EPOCHS)
        with torch.inference_mode():
            crossed[left_out] = head(training.windows["train"][torch.from_numpy(left_out)]).numpy()
    return logits | {"train": crossed}


def first_logits(places: Places, words: Words) -> dict[str, Floats]:
    """Return the shipped concept head's logits of each set, [photos, content words]."""
    head = open_initial_model(SHIPPED_MODEL).model.concept_head
    if head is None:
        raise SystemExit(f"{SHIPPED_MODEL} has no concept head")
    columns = np.array([words.caption_words.index(word) for word in words.content_words])
    logits = {}
    for name in SETS:
        regions = np.load(places.regions(name), mmap_mode="r")
        batches = []
        with torch.inference_mode():
            for i in range(0, len(regions), 64):
                batch = torch.from_numpy(regions[i : i + 64].astype(np.float32))
                batches.append(head.eval()({"regions": batch}).numpy())
        logits[name] = np.concatenate(batches)[:, columns]
    return logits


def main() -> None:
    """Train the heads and write the logits of all sets."""
    places = open_places(step_parser(__doc__).parse_args())
    words = count_words(places)
    network = load_object_network(places.object_weights)
    torch.manual_seed(0)  # after the network: its first weights are random, too
    random = np.random.default_rng(0)
    shares = {split: split_shares(places, split, words) for split in ("train", "dev")}
    objects = object_logits(network, places, words, shares["train"], random)
    content = {split: s[:, words.caption_columns] for split, s in shares.items()}
    loaded = {name: np.load(places.windows(name)).astype(np.float32) for name in SETS}
    windows = {name: torch.from_numpy(array) for name, array in loaded.items()}
    second = second_logits(HeadTraining(windows, content, objects, words, random), places)
    first = first_logits(places, words)
    arrays = {f"first_{name}": array for name, array in first.items()}
    arrays |= {f"second_{name}": array for name, array in second.items()}
    arrays |= {f"objects_{name}": array for name, array in objects.items()}
    np.savez(places.work / "logits.npz", **arrays)
    for share in (0, 0.3, 0.4, 0.5, 0.7, 1):
        mixed = (1 - share) * first["dev"] + share * second["dev"]
        print("share of the second head", share, *halves_precision(mixed, content["dev"]))


if __name__ == "__main__":
    main()
