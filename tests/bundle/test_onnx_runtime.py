"""Networks that do not do what their manifest and vocabulary promise are one clear error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper
from PIL import Image

from showtell import Captioner
from showtell.bundle import DECODER_STEP, ENCODER, Bundle, load_bundle
from showtell.errors import BundleError
from showtell.vocabulary import Vocabulary
from support.tiny_bundles import CHANNELS, GRID, rehash, tiny_networks, write_bundle

PHOTO = Image.new("RGB", (20, 20), "red")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "tiny")


def test_vocabulary_of_another_size_than_the_network_is_refused(bundle: Bundle) -> None:
    shorter = replace(bundle, vocabulary=Vocabulary(bundle.vocabulary.words[:-3]))
    with pytest.raises(BundleError, match=rf"{DECODER_STEP}: .* shape of 'log_probabilities'"):
        Captioner(shorter).caption(PHOTO)


@pytest.mark.parametrize("grid", [(1, 16), (2, 8), GRID])
def test_grid_must_have_the_regions_of_the_network(bundle: Bundle, grid: tuple[int, int]) -> None:
    encoder = replace(bundle.manifest.encoder, grid=grid)
    changed = replace(bundle, manifest=replace(bundle.manifest, encoder=encoder))
    assert Captioner(changed).caption(PHOTO).words[0].attention.shape == grid
    encoder = replace(encoder, grid=(grid[0], grid[1] + 1))
    changed = replace(bundle, manifest=replace(bundle.manifest, encoder=encoder))
    with pytest.raises(BundleError, match=rf"{ENCODER}: .* shape of 'regions' is \[1, 16, 3\]"):
        Captioner(changed).caption(PHOTO)


def test_channels_must_be_those_of_the_network(bundle: Bundle) -> None:
    encoder = replace(bundle.manifest.encoder, channels=5)
    changed = replace(bundle, manifest=replace(bundle.manifest, encoder=encoder))
    with pytest.raises(BundleError, match=rf"{ENCODER}: .* not \[1, 16, 5\]"):
        Captioner(changed).caption(PHOTO)


def test_photo_size_that_the_network_does_not_take_is_a_bundle_error(bundle: Bundle) -> None:
    preprocessing = replace(bundle.manifest.preprocessing, height=33)
    changed = replace(bundle, manifest=replace(bundle.manifest, preprocessing=preprocessing))
    with pytest.raises(BundleError, match=rf"{ENCODER}: does not run"):
        Captioner(changed).caption(PHOTO)


def test_network_that_fails_leaves_no_lines_of_onnx_runtime(
    bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    network = tiny_networks()[ENCODER]
    [shape] = network.graph.initializer
    shape.CopyFrom(numpy_helper.from_array(np.int64([0, CHANNELS, 7]), shape.name))
    network.graph.node[1].name = "\x1b[31mred"
    bundle.file(ENCODER).write_bytes(network.SerializeToString())
    rehash(bundle.path)
    bundle = load_bundle(bundle.path)
    with pytest.raises(BundleError, match="does not run"):
        Captioner(bundle).caption(PHOTO)
    assert capfd.readouterr() == ("", "")


def test_state_without_a_row_for_each_hypothesis_is_refused(bundle: Bundle) -> None:
    step = tiny_networks()[DECODER_STEP]
    for node in step.graph.node:
        if node.output[0] == "next_count":  # one row for all
            node.op_type = "Squeeze"
            del node.input[:]
            node.input.append("one")
    (bundle.path / DECODER_STEP).write_bytes(step.SerializeToString())
    rehash(bundle.path)
    with pytest.raises(BundleError, match=rf"{DECODER_STEP}: "):
        Captioner(load_bundle(bundle.path)).caption(PHOTO, beam=3)


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_threads_are_bounded(bundle: Bundle, threads: int) -> None:
    with pytest.raises(ValueError, match="threads: must be from 1 to 256"):
        Captioner(bundle, threads=threads)
