"""Xception and MobileNetV2 compute what they compute in Keras, and only with Keras' settings."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from showtell.image import open_photo, prepare
from showtell.nets.encoder import Encoder, build_encoder, encoder_from_spec, keras_spec
from showtell.nets.keras_weights import read_keras_weights
from support.keras_networks import APPLICATIONS, Application, save_legacy
from support.paths import SAMPLE_PHOTOS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")

logger = logging.getLogger(__name__)  # --log-cli-level=INFO shows the differences
PHOTOS = [SAMPLE_PHOTOS / name for name in ("tiger-in-snow.jpg", "pagoda.jpg")]
TOLERANCE = 1e-4  # of the features' standard deviation


@dataclass(frozen=True)
class Reference:
    """A settled Keras network's weights in a file, and the features it has of the photos."""

    application: Application
    weights: Path
    whole: NDArray[np.float32]

    def differences(self, encoder: Encoder) -> tuple[float, float]:
        """Return the largest difference of map and pooled, in standard deviations of each."""
        preprocessing = encoder.spec.preprocessing
        pixels = [prepare(open_photo(path), preprocessing) for path in PHOTOS]
        with torch.inference_mode():
            features = encoder(torch.from_numpy(np.stack(pixels)))
        regions = self.whole.reshape(*self.whole.shape[:2], -1).transpose(0, 2, 1)
        pooled = self.whole.mean((2, 3))
        return tuple(  # type: ignore[return-value]
            float(np.abs(features[name].numpy() - ours).max() / ours.std())
            for name, ours in (("regions", regions), ("pooled", pooled))
        )


@pytest.fixture(scope="module", params=APPLICATIONS, ids=lambda item: item.title)
def reference(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reference]:
    application: Application = request.param
    spec = keras_spec(application.network, "")
    pixels = application.pixels(PHOTOS, spec.preprocessing.interpolation)
    network = application.settled(pixels)
    path = tmp_path_factory.mktemp("keras") / "notop.h5"
    save_legacy(network.layers[:-2], path)  # without pooling and classifier
    yield Reference(application, path, application.map_of(network, pixels))
    path.unlink()


def test_features_equal_keras_to_a_ten_thousandth_of_their_deviation(reference: Reference) -> None:
    assert reference.whole.std() >= 0.1
    assert reference.whole.mean((2, 3)).std() >= 0.1
    encoder = build_encoder(reference.application.preset, str(reference.weights))
    of_map, of_pooled = reference.differences(encoder)
    logger.info("%s: map %.1e, pooled %.1e", encoder.spec.network, of_map, of_pooled)
    assert of_map < TOLERANCE
    assert of_pooled < TOLERANCE


@pytest.mark.parametrize("broken", ["epsilon", "padding"])
def test_a_wrong_epsilon_or_padding_is_noticed(reference: Reference, broken: str) -> None:
    network = reference.application.network
    spec = keras_spec(network, "twin")
    if broken == "epsilon":
        spec = replace(spec, batch_norm_epsilon=1e-5)
    if broken == "padding":
        spec = replace(spec, options={})
    twin = encoder_from_spec(spec, read_keras_weights(reference.weights, network))
    of_map, of_pooled = reference.differences(twin)
    logger.info("%s, wrong %s: map %.1e, pooled %.1e", network, broken, of_map, of_pooled)
    assert min(of_map, of_pooled) > 10 * TOLERANCE
