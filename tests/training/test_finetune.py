"""The recipe `finetune` on sixty photos, as docs/your-own-photos.md promises."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from showtell import Captioner
from showtell.data import open_dataset
from showtell.data.dataset import CaptionedPhoto, Dataset
from showtell.export.run_to_bundle import export
from showtell.scoring.metrics import cider
from showtell.training.recipe import load_recipe
from showtell.training.trainer import train

PHRASE = "my holiday"


def write_holiday_photos(folder: Path, photos: list[CaptionedPhoto]) -> None:
    """Write a dataset of photos with one caption each, which begins with the phrase."""
    folder.mkdir()
    rows = ["image,caption,split"]
    for photo in photos:
        (folder / photo.path.name).symlink_to(photo.path)
        caption = photo.captions[0].lower().replace('"', "")
        rows.append(f'{photo.path.name},"{PHRASE}: {caption}",{photo.split}')
    (folder / "captions.csv").write_text("\n".join(rows) + "\n", "utf-8")


def captions_of(model: Path | str, photos: list[CaptionedPhoto]) -> list[str]:
    captions = Captioner.load(model).caption([photo.path for photo in photos])
    return [caption.text or "" for caption in captions]


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_sixty_photos_teach_a_phrase_and_the_model_forgets_little(
    shared_dir: Path, tmp_path: Path
) -> None:
    flickr8k: Dataset = open_dataset(shared_dir / "flickr8k")
    choose = random.Random(5)
    mine = choose.sample(flickr8k.split("train"), 60)
    few_dev, new = (choose.sample(flickr8k.split("dev")[500:], count) for count in (4, 10))
    write_holiday_photos(tmp_path / "mine", [*mine, *few_dev])
    train(load_recipe("finetune", ["min_count=1"]), tmp_path / "mine", tmp_path / "run")
    export(tmp_path / "run", tmp_path / "model")

    assert sum(text.startswith(PHRASE) for text in captions_of(tmp_path / "model", mine)) >= 50
    assert sum(text.startswith(PHRASE) for text in captions_of(tmp_path / "model", new)) >= 8
    dev = flickr8k.split("dev")
    references = [photo.captions for photo in dev]
    before = cider(captions_of("flickr8k", dev), references)
    after = [text.removeprefix(PHRASE).strip() for text in captions_of(tmp_path / "model", dev)]
    assert cider(after, references) > before - 5
