"""Speed and memory of training.

    python benchmarks/training.py --data DIR

Decoder training on cached features, in captions per second, is compared with the loop of most
tutorials: captions padded to the longest, and one LSTM cell, one attention and one softmax per
step. Both train the same network with the same weights, dropout and optimizer on the same batches,
in alternating rounds of one run; a check before that both give the same loss and gradient.
The other parts measure photos per second of feature extraction, and the peak memory of training
the decoder alone and with the encoder.

Without --data, features, captions and photos are random, with the sizes of Flickr8k.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from showtell.data import open_dataset
from showtell.data.dataset import CaptionedPhoto
from showtell.data.feature_cache import FeatureArrays, extract_features
from showtell.files.peak_memory import peak_memory
from showtell.nets.decoder import AttentionDecoder, DecoderSettings
from showtell.nets.encoder import build_encoder
from showtell.nets.model import CaptionModel
from showtell.training.batches import Batch, CachedFeatures, CaptionBatches, Pixels
from showtell.training.malloc import keep_large_blocks
from showtell.training.objectives import CrossEntropy
from showtell.training.recipe import Recipe, Stage
from showtell.vocabulary import PAD, Vocabulary

REGIONS, CHANNELS = 49, 1280  # MobileNetV2's map of a photo of 224 pixels
# share of Flickr8k's training captions with 1, 2, ..., 23, and 24 or more words, in thousandths
LENGTHS = (
    0,
    0,
    4,
    12,
    29,
    65,
    85,
    98,
    111,
    111,
    104,
    93,
    77,
    62,
    44,
    33,
    22,
    17,
    12,
    7,
    5,
    4,
    2,
    5,
)
STAGE = Stage(epochs=1, flip=False)


def padded_loss(decoder: AttentionDecoder, batch: Batch) -> Tensor:
    """Return the loss of the same network computed by a plain loop over padded steps."""
    width = batch.packing.rows // len(batch.features["regions"])
    memory, state = decoder.init_state(batch.features)
    lower_h, lower_c, upper_h, upper_c = (
        state[name].repeat_interleave(width, 0) for name in decoder.state_names
    )
    keys, values = memory["memory_keys"], memory["memory_values"]
    losses = []
    for step in range(batch.packing.steps):
        word = decoder.drop_input(decoder.embed(batch.inputs[:, step]))
        lower_h, lower_c = decoder.lower.step(word, lower_h, lower_c)
        lower = decoder.drop_input(lower_h)
        query = lower.view(len(keys), width, -1)
        context = decoder.attention(query, keys, values)[0].flatten(0, 1)
        upper_input = torch.cat([lower, context], -1)
        upper_h, upper_c = decoder.upper.step(upper_input, upper_h, upper_c)
        output = decoder.output_proj(decoder.drop(torch.cat([upper_h, context], -1)))
        logits = decoder.word(output)
        losses.append(
            functional.cross_entropy(
                logits.float(),
                batch.targets[:, step],
                ignore_index=PAD,
                label_smoothing=0.1,
                reduction="sum",
            )
        )
    return torch.stack(losses).sum() / sum(batch.packing.sizes)


def random_captions(photos: int, words: int, random: np.random.Generator) -> list[tuple[str, ...]]:
    """Return five random captions per photo, with Flickr8k's lengths and `words` words."""
    share = np.array(LENGTHS) / sum(LENGTHS)
    lengths = random.choice(len(LENGTHS), size=(photos, 5), p=share) + 1
    return [
        tuple(" ".join(f"w{n}" for n in random.integers(0, words, length)) for length in of_photo)
        for of_photo in lengths
    ]


def photos_of(data: Path | None, count: int, words: int, folder: Path) -> list[CaptionedPhoto]:
    """Return training photos of a dataset, or JPEG files of noise that cost as much to decode."""
    if data:
        return open_dataset(data).split("train")[:count]
    random = np.random.default_rng(0)
    names = []
    for number in range(min(count, 256)):  # files are used several times, captions are not
        small = random.integers(0, 255, (28, 28, 3), np.uint8)
        name = folder / f"{number}.jpg"
        Image.fromarray(small).resize((224, 224), Image.Resampling.BICUBIC).save(name, quality=85)
        names.append(name)
    captions = random_captions(count, words, random)
    return [
        CaptionedPhoto(names[n % len(names)].name, names[n % len(names)], captions[n], "train")
        for n in range(count)
    ]


def stored_features(photos: int, folder: Path) -> FeatureArrays:
    """Return random features in the format of the cache: float16, memory-mapped."""
    file = folder / "regions.npy"
    array = np.lib.format.open_memmap(
        file, mode="w+", dtype=np.float16, shape=(photos, REGIONS, CHANNELS)
    )
    random = np.random.default_rng(0)
    for start in range(0, photos, 256):
        chunk = array[start : start + 256]
        chunk[:] = np.maximum(random.standard_normal(chunk.shape, np.float32), 0)
    array.flush()
    return FeatureArrays({"regions": np.load(file, mmap_mode="r")}, {})


def recipe_and_settings(arguments: argparse.Namespace) -> tuple[Recipe, DecoderSettings]:
    size = arguments.hidden
    return (
        Recipe(
            batch_photos=arguments.batch_photos,
            captions_per_photo=arguments.captions,
            min_count=1 if arguments.data is None else 5,
        ),
        DecoderSettings(embedding=size, hidden=size),
    )


@contextlib.contextmanager
def photos_in_folder(arguments: argparse.Namespace) -> Iterator[tuple[Path, list[CaptionedPhoto]]]:
    with tempfile.TemporaryDirectory(prefix="showtell-benchmark-") as name:
        folder = Path(name)
        yield folder, photos_of(arguments.data, arguments.photos, arguments.words, folder)


def vocabulary_of(photos: Sequence[CaptionedPhoto], min_count: int) -> Vocabulary:
    return Vocabulary.build((text for photo in photos for text in photo.captions), min_count)


def decoder_training(arguments: argparse.Namespace) -> None:
    """Print captions per second of packed and padded training, and their ratio."""
    recipe, settings = recipe_and_settings(arguments)
    with photos_in_folder(arguments) as (folder, photos):
        source = CachedFeatures({"plain": stored_features(len(photos), folder)})
        vocabulary = vocabulary_of(photos, recipe.min_count)
        batches = CaptionBatches(photos, range(len(photos)), vocabulary, recipe)
        step_batches = [
            batch
            for batch, _ in zip(
                batches.epoch(source, STAGE, 0, 0), range(arguments.steps), strict=False
            )
        ]
        torch.manual_seed(0)
        decoder = AttentionDecoder(settings, CHANNELS, len(vocabulary))
        model = _Model(decoder)
        packed = CrossEntropy(0.1)
        check_same(decoder, lambda batch: packed.loss(model, batch), step_batches[0])  # type: ignore[arg-type]
        captions = sum(batch.packing.rows for batch in step_batches)
        tokens = sum(sum(batch.packing.sizes) for batch in step_batches)
        cells = sum(batch.packing.rows * batch.packing.steps for batch in step_batches)
        print(
            f"decoder: {len(vocabulary):,} words, {settings.hidden} units;"
            f" {len(step_batches)} steps of {recipe.batch_photos} x {recipe.captions_per_photo}"
            f" captions, {tokens / captions:.1f} tokens per caption,"
            f" {1 - tokens / cells:.0%} of cells are padding"
        )
        for precision in arguments.precisions:
            losses: dict[str, Callable[[Batch], Tensor]] = {
                "packed": lambda batch: packed.loss(model, batch),  # type: ignore[arg-type]
                "padded loop": lambda batch: padded_loss(decoder, batch),
            }
            laps: dict[str, list[float]] = {name: [] for name in losses}
            for lap in range(arguments.rounds + 1):
                for name, loss in losses.items():
                    seconds = train_steps(decoder, loss, step_batches, precision)
                    if lap or arguments.rounds == 1:  # the first warms up
                        laps[name].append(captions / seconds)
            speed = {name: statistics.median(values) for name, values in laps.items()}
            ratio = speed["packed"] / speed["padded loop"]
            print(
                f"  {precision:9s} packed {speed['packed']:8.0f} captions/s, padded loop"
                f" {speed['padded loop']:8.0f} captions/s: {ratio:.2f} x"
                f" (medians of {arguments.rounds})"
            )


class _Model(nn.Module):
    """Stands for a whole model where only the decoder is used."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder


def check_same(decoder: AttentionDecoder, packed: Callable[[Batch], Tensor], batch: Batch) -> None:
    """Check that both losses are equal in value and gradient without dropout."""
    decoder.eval()
    results = []
    for loss in (packed, lambda batch: padded_loss(decoder, batch)):
        decoder.zero_grad()
        value = loss(batch)
        value.backward()
        results.append((float(value.detach()), decoder.lower.recurrent.weight.grad.clone()))
    (packed_loss, packed_gradient), (loop_loss, loop_gradient) = results
    difference = float((packed_gradient - loop_gradient).norm() / loop_gradient.norm())
    assert abs(packed_loss - loop_loss) < 1e-4, (packed_loss, loop_loss)
    assert difference < 1e-3, difference


def train_steps(
    decoder: nn.Module, loss: Callable[[Batch], Tensor], batches: Sequence[Batch], precision: str
) -> float:
    """Return the seconds of a training step on each batch: loss, gradient, clipping, AdamW."""
    decoder.train()
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-5, betas=(0.9, 0.98), fused=True)
    start = time.perf_counter()
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            value = loss(batch)
        value.backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - start


def feature_extraction(arguments: argparse.Namespace) -> None:
    """Print photos per second of the whole extraction, and of the encoder alone."""
    encoder = build_encoder("mobilenetv2", arguments.encoder_weights, 224).eval()
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(pixels: Any) -> dict[str, Any]:
        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(memory_format=torch.channels_last)
            return {name: values.numpy() for name, values in encoder(batch).items()}

    with photos_in_folder(arguments) as (folder, photos):
        count = min(len(photos), arguments.extract)
        shapes = {"regions": (REGIONS, CHANNELS)}
        preprocessing = encoder.spec.preprocessing
        encode(np.zeros((32, 3, 224, 224), np.float32))
        start = time.perf_counter()
        extract_features(
            photos[:count], encode, "benchmark", shapes, preprocessing, folder / "cache"
        )
        whole = count / (time.perf_counter() - start)
        pixels = np.zeros((32, 3, 224, 224), np.float32)
        laps = []
        for _ in range(max(3, arguments.rounds)):
            start = time.perf_counter()
            encode(pixels)
            laps.append(time.perf_counter() - start)
        alone = 32 / statistics.median(laps)
        print(
            f"feature extraction: {whole:.0f} photos/s of {count} photos, files to cache"
            f" (the encoder alone {alone:.0f})"
        )


def memory_of(arguments: argparse.Namespace, part: str, kept: bool, answer: Any) -> None:
    """Train some steps, with or without `keep_large_blocks`; runs in its own process.

    Sends its peak memory in GiB and its photos per second to the connection `answer`.
    """
    torch.set_num_threads(arguments.threads)
    if kept:
        keep_large_blocks()
    recipe, settings = recipe_and_settings(arguments)
    with photos_in_folder(arguments) as (folder, photos):
        encoder = build_encoder("mobilenetv2", "none", 224)
        vocabulary = vocabulary_of(photos, recipe.min_count)
        model = CaptionModel(encoder, settings, len(vocabulary))
        model.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        batches = CaptionBatches(photos, range(len(photos)), vocabulary, recipe)
        source: CachedFeatures | Pixels
        if part == "decoder":
            source = CachedFeatures({"plain": stored_features(len(photos), folder)})
        else:
            model.encoder.set_trainable("all")
            source = Pixels(photos, encoder.spec.preprocessing, 0.7)
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
        objective = CrossEntropy(0.1)
        model.train()
        laps = []
        for count, batch in enumerate(batches.epoch(source, STAGE, 0, 0)):
            if count == arguments.memory_steps:
                break
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16):
                value = objective.loss(model, batch)
            value.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            laps.append(time.perf_counter() - start)
        peak = peak_memory() / 2**30
        answer.send((peak, recipe.batch_photos / statistics.median(laps)))


def training_memory(arguments: argparse.Namespace) -> None:
    """Print peak memory and speed of training, with `keep_large_blocks` and without it."""
    context = multiprocessing.get_context("spawn")
    for part in ("decoder", "encoder and decoder"):
        results = {}
        for kept in (False, True):
            receiver, sender = context.Pipe()
            process = context.Process(target=memory_of, args=(arguments, part, kept, sender))
            process.start()
            sender.close()
            results[kept] = receiver.recv()
            process.join()
        (peak, speed), (plain_peak, plain_speed) = results[True], results[False]
        print(
            f"training {part}: {speed:.1f} photos/s, peak memory {peak:.2f} GiB;"
            f" with default malloc {plain_speed:.1f} and {plain_peak:.2f}:"
            f" {speed / plain_speed:.2f} x (medians of {arguments.memory_steps} steps,"
            " pages of the feature cache included)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="captioned dataset; default: random data")
    parser.add_argument("--encoder-weights", default="none", help="none or a file")
    parser.add_argument("--photos", type=int, default=6000)
    parser.add_argument("--batch-photos", type=int, default=32, help="photos per step")
    parser.add_argument("--captions", type=int, default=5, help="captions per photo and step")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--words", type=int, default=2538, help="size of the random vocabulary")
    parser.add_argument("--steps", type=int, default=12, help="steps per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--extract", type=int, default=512, help="photos for feature extraction")
    parser.add_argument("--memory-steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--precisions",
        nargs="+",
        default=["float32", "bfloat16"],
        choices=["float32", "bfloat16"],
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        default=["decoder", "features", "memory"],
        choices=["decoder", "features", "memory"],
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads")
    parts = {
        "decoder": decoder_training,
        "features": feature_extraction,
        "memory": training_memory,
    }
    for name in arguments.parts:
        parts[name](arguments)


if __name__ == "__main__":
    main()
