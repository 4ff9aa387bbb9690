"""Time of fine-tuning a shipped model on a few photos, from photos to the trained run.

    python benchmarks/finetune.py --data DIR [--photos 60] [min_count=1 ...]

The photos are drawn from the training photos of the dataset DIR, with one caption each. Settings
of the recipe `finetune` may follow. Loading PyTorch counts, exporting does not.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
import time
from pathlib import Path

from showtell.data import CaptionedPhoto, open_dataset
from showtell.files.counts import count_of

DEV_PHOTOS = 4  # too few to choose an epoch: the last one is kept, as with few photos of one's own


def write_dataset(folder: Path, photos: list[CaptionedPhoto]) -> None:
    """Write photos, as links, and the first caption of each as a dataset of one CSV file."""
    folder.mkdir()
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "caption", "split"])
        for photo in photos:
            source = Path(photo.path).resolve()
            (folder / source.name).symlink_to(source)
            table.writerow([source.name, photo.captions[0], photo.split])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", default=["min_count=1"], metavar="KEY=VALUE")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--seed", type=int, default=5, help="of the choice of photos")
    options = parser.parse_args()

    dataset, choose = open_dataset(options.data), random.Random(options.seed)
    photos = choose.sample(dataset.split("train"), options.photos)
    photos += choose.sample(dataset.split("dev"), DEV_PHOTOS)
    with tempfile.TemporaryDirectory(prefix="showtell-finetune-") as scratch:
        write_dataset(Path(scratch) / "mine", photos)
        wall, processor = time.perf_counter(), time.process_time()
        from showtell.training.recipe import load_recipe
        from showtell.training.trainer import train

        recipe = load_recipe("finetune", options.settings)
        train(recipe, Path(scratch) / "mine", Path(scratch) / "run")
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    epochs = sum(stage.epochs for stage in recipe.stages)
    print(
        f"{options.photos} photos, {count_of(epochs, 'epoch')}, from {recipe.init_from}:"
        f" {wall:.0f} s, {processor:.0f} s of processor time"
    )


if __name__ == "__main__":
    main()
