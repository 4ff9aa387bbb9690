"""Checkpoints and bundles of earlier versions load although parameters have new names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import showtell
from showtell.bundle.onnx_weights import weights_of
from showtell.nets.decoder import DecoderSettings
from showtell.nets.model import build_decoder
from showtell.nets.renamed_parameters import RENAMED_PARTS, current_name, with_current_names
from showtell.training.checkpoint import Checkpoints, TrainingProgress, trained_tensors
from showtell.training.loop import load_weights

SHIPPED = Path(showtell.__file__).parent / "bundles" / "flickr8k"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("decoder.inner.members.0.speak.weight", "decoder.base.members.0.output_proj.weight"),
        ("decoder.head.present.bias", "decoder.head.global_logits.bias"),
        ("head.local.weight", "head.region_logits.weight"),
        ("head.usual.bias", "head.log_prior.bias"),
        ("exp_avg/decoder.speak.weight", "exp_avg/decoder.output_proj.weight"),
        ("exp_avg/encoder.network.local.weight", "exp_avg/encoder.network.local.weight"),
        ("encoder.network.blocks.inner.weight", "encoder.network.blocks.inner.weight"),
        ("decoder.word.weight", "decoder.word.weight"),
        ("steps", "steps"),
    ],
)
def test_old_names_become_current_ones_except_in_the_encoder(old: str, new: str) -> None:
    assert current_name(old) == new
    assert current_name(new) == new


def test_every_decoder_weight_of_the_shipped_bundle_has_a_parameter() -> None:
    """The shipped graphs hold the old names, so that their files stay byte for byte."""
    stored: dict[str, np.ndarray] = {}
    for graph in ("decoder_begin.onnx", "decoder_step.onnx"):
        stored |= weights_of(SHIPPED / graph)
    assert {part for name in stored for part in name.split(".")} >= set(RENAMED_PARTS)
    settings = DecoderSettings(
        embedding=256, hidden=256, heads=4, members=3, concept_weight=0.2, concepts_from="regions"
    )
    words = len(stored["decoder.inner.members.0.word.bias"])
    model = torch.nn.ModuleDict({"decoder": build_decoder(settings, 1280, words)})
    shapes = {name: tuple(tensor.shape) for name, tensor in trained_tensors(model).items()}
    renamed = {name: array.shape for name, array in with_current_names(stored).items()}
    tied = {name for name in renamed if name.endswith("word.weight")}  # embed.weight in `shapes`
    assert {n: s for n, s in renamed.items() if n not in tied}.items() <= shapes.items()
    lacking = shapes.keys() - renamed.keys()
    assert all(name.endswith("embed.weight") for name in lacking), lacking


def test_a_checkpoint_with_old_names_loads(tmp_path: Path) -> None:
    settings = DecoderSettings(embedding=8, hidden=8, heads=2, members=2, concept_weight=0.5)
    torch.manual_seed(1)
    decoder = build_decoder(settings, 6, 12)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", "0-0-1", TrainingProgress(), model=trained_tensors(decoder))
    [file] = tmp_path.glob("checkpoints/last-*/model.safetensors")
    old = {new: old for old, new in RENAMED_PARTS.items()}
    tensors = load_file(file)
    renamed = {".".join(old.get(p, p) for p in name.split(".")): t for name, t in tensors.items()}
    assert renamed.keys() != tensors.keys()
    save_file(renamed, file)
    other = build_decoder(settings, 6, 12)
    load_weights(other, checkpoints.tensors("last", "model"))
    for name, tensor in trained_tensors(decoder).items():
        assert torch.equal(trained_tensors(other)[name], tensor), name
