"""Features of photos from the current encoder, cached where the encoder is frozen."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from showtell.data.dataset import CaptionedPhoto
from showtell.data.feature_cache import FeatureArrays, extract_features, find_unreadable
from showtell.decoding.keywords import DETECTED
from showtell.files.folders import cache_dir
from showtell.files.progress import progress_bar
from showtell.nets.model import CaptionModel
from showtell.training.distributed import Ranks
from showtell.training.loop import InterruptedTrainingError
from showtell.training.recipe import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureExtractor:
    """Computes features with a run's encoder, and finds photos that cannot be read."""

    model: CaptionModel
    recipe: Recipe
    output: Path
    device: torch.device
    stop: Callable[[], bool]
    ranks: Ranks

    @property
    def workers(self) -> int:
        """Processes that prepare batches: by the recipe, or on a GPU this rank's share of cores."""
        if self.recipe.workers or self.device.type == "cpu":
            return self.recipe.workers
        return max(1, min(16, (os.cpu_count() or 1) // self.ranks.local_count - 1))

    def encode(self, pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the features of pixels [batch, 3, height, width]."""
        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(self.device, memory_format=torch.channels_last)
            features = self.model.encoder(batch)
            return {name: array.float().cpu().numpy() for name, array in features.items()}

    def cached(self, photos: Sequence[CaptionedPhoto], view: str, *, tuned: bool) -> FeatureArrays:
        """Return the features of one view of the photos, from the cache or computed into it.

        The features of an encoder that this run has `tuned` are cached in the run folder. Raises
        InterruptedTrainingError where the user asks the run to stop.
        """
        encoder = self.model.encoder.eval()
        regions = encoder.grid[0] * encoder.grid[1]
        shapes: dict[str, tuple[int, ...]] = {
            "regions": (regions, encoder.channels),
            "pooled": (encoder.channels,),
        }
        if encoder.spec.detector:
            shapes[DETECTED] = (encoder.spec.detector.words,)
        with progress_bar(len(photos), description=f"features ({view})") as bar:

            def report(done: int) -> None:
                bar.update(done - bar.n)
                if self.stop():
                    raise InterruptedTrainingError("stopped: resume with --resume auto")

            return extract_features(
                photos,
                self.encode,
                encoder.fingerprint(),
                {name: shapes[name] for name in self.model.decoder.needs},
                encoder.spec.preprocessing,
                self._cache_folder(tuned),
                view=view,
                threads=max(2, self.workers),
                progress=report,
            )

    def _cache_folder(self, tuned: bool) -> Path:
        if tuned:
            return self.output / "features"
        if self.recipe.feature_cache:
            return Path(self.recipe.feature_cache).expanduser()
        return cache_dir() / "features"

    def unreadable(self, photos: Sequence[CaptionedPhoto]) -> dict[int, str]:
        """Return the row and the problem of each unreadable photo; each rank checks its shard."""
        rows = self.ranks.shard(range(len(photos)))
        problems = find_unreadable(
            [photos[row] for row in rows],
            self.model.encoder.spec.preprocessing,
            max(2, self.workers),
        )
        own = {rows[index]: problem for index, problem in problems.items()}
        return dict(sorted(item for found in self.ranks.all_gather(own) for item in found.items()))


def warn_unreadable(photos: Sequence[CaptionedPhoto], problems: Mapping[int, str]) -> None:
    """Name the photos that are left out, at most twenty of them."""
    for row, problem in list(problems.items())[:20]:
        logger.warning("left out: %s", problem or photos[row].name)
    if len(problems) > 20:
        logger.warning("… and %d more", len(problems) - 20)
