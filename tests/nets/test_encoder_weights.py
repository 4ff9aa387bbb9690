"""Settings belong to an encoder's weights; wrong weights files are refused with the reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from showtell.errors import RecipeError, TrainingError
from showtell.image import Preprocessing
from showtell.nets.encoder import (
    SPEC_KEY,
    Encoder,
    EncoderSpec,
    build_encoder,
    encoder_from_spec,
)
from showtell.nets.weights_file import read_weights

PLAIN = {"mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5", "input_size": "3,64,64"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return dict(timm.create_model("mobilenetv2_035", num_classes=7).state_dict())


def written(
    folder: Path,
    weights: dict[str, torch.Tensor],
    metadata: dict[str, str] | None = None,
    name: str = "weights.safetensors",
) -> str:
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / name, metadata)
    return str(folder / name)


def features(encoder: Encoder, seed: int = 0, size: int = 64) -> torch.Tensor:
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        regions: torch.Tensor = encoder(pixels)["regions"]
    return regions


def test_settings_are_read_from_the_weights_file(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    metadata = PLAIN | {"interpolation": "bicubic", "source": "a test", "batch_norm_epsilon": "0.1"}
    path = written(tmp_path, weights, metadata | {"timm_kwargs": "pad_type=same"})
    spec = build_encoder("mobilenetv2_035", path).spec
    assert spec.preprocessing == Preprocessing(64, 64, interpolation="bicubic")
    assert spec.options == {"pad_type": "same"}
    assert spec.batch_norm_epsilon == 0.1
    assert spec.source == "a test"


def test_padding_and_epsilon_of_the_file_change_the_features(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    outputs = {
        name: features(
            build_encoder("mobilenetv2_035", written(tmp_path, weights, PLAIN | metadata, name))
        )
        for name, metadata in {
            "plain": {},
            "same": {"timm_kwargs": "pad_type=same"},
            "epsilon": {"batch_norm_epsilon": "0.05"},
        }.items()
    }
    for name in ("same", "epsilon"):
        difference = (outputs[name] - outputs["plain"]).abs().max()
        assert difference > 0.01 * outputs["plain"].abs().max()


def test_features_are_those_of_the_plain_timm_network(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    path = written(tmp_path, weights, PLAIN | {"timm_kwargs": "pad_type=same"})
    plain = timm.create_model("mobilenetv2_035", num_classes=7, pad_type="same").eval()
    plain.load_state_dict(weights)
    encoder = build_encoder("mobilenetv2_035", path)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        feature_map = plain.forward_features(pixels)
        regions = encoder(pixels)["regions"].transpose(1, 2).reshape(feature_map.shape)
    torch.testing.assert_close(regions, feature_map, rtol=1e-3, atol=1e-4)


def test_a_file_without_settings_gets_timms_settings_with_a_warning(
    tmp_path: Path, weights: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    spec = build_encoder("mobilenetv2_035", written(tmp_path, weights)).spec
    assert "has no encoder settings: using those of timm's 'mobilenetv2_035'" in caplog.text
    assert spec.preprocessing.mean == (0.485, 0.456, 0.406)
    assert spec.preprocessing.resize == "crop"
    assert spec.preprocessing.crop_fraction == 0.875


def test_a_file_from_timm_gets_timms_settings_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = timm.create_model("mobilenetv2_100", num_classes=0)
    path = written(tmp_path, dict(network.state_dict()), {"format": "pt"})
    spec = build_encoder("mobilenetv2", path, image_size=64).spec
    assert "using those of timm's 'mobilenetv2_100'" in caplog.text
    assert (spec.options, spec.batch_norm_epsilon) == ({}, None)
    assert (spec.preprocessing.mean, spec.preprocessing.width) == ((0.485, 0.456, 0.406), 64)


@pytest.mark.parametrize(("name", "of_keras"), [("xception", True), ("legacy_xception", False)])
def test_the_preset_xception_gives_timms_weights_keras_settings(
    tmp_path: Path, name: str, of_keras: bool, caplog: pytest.LogCaptureFixture
) -> None:
    network = timm.create_model("legacy_xception", num_classes=0)
    path = written(tmp_path, dict(network.state_dict()), {"format": "pt"})
    spec = build_encoder(name, path, image_size=64).spec
    settings = ({"max_pool": "same"}, 1e-3, "squash") if of_keras else ({}, None, "crop")
    assert (spec.options, spec.batch_norm_epsilon, spec.preprocessing.resize) == settings
    source = "Keras for" if of_keras else "timm's"
    assert f"using those of {source} 'legacy_xception'" in caplog.text


def test_spec_and_weights_survive_saving_and_loading(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    path = written(tmp_path, weights, PLAIN | {"timm_kwargs": "pad_type=same"})
    first = build_encoder("mobilenetv2_035", path, image_size=96)
    plain = json.loads(json.dumps(first.spec.to_dict()))
    assert EncoderSpec.from_dict(plain) == first.spec
    state = first.network.state_dict()
    again = encoder_from_spec(EncoderSpec.from_dict(plain), state)
    assert again.fingerprint() == first.fingerprint()
    assert torch.equal(features(again, size=96), features(first, size=96))
    own_file = written(tmp_path, dict(state), {SPEC_KEY: json.dumps(plain)}, "own")
    from_own_file = build_encoder("mobilenetv2_035", own_file)
    assert from_own_file.fingerprint() == first.fingerprint()


def test_the_fingerprint_changes_with_weights_and_settings(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    encoders = [
        build_encoder("mobilenetv2_035", written(tmp_path, weights, PLAIN)),
        build_encoder("mobilenetv2_035", written(tmp_path, weights, PLAIN), image_size=96),
        build_encoder(
            "mobilenetv2_035", written(tmp_path, weights, PLAIN | {"std": "0.5,0.5,0.4"})
        ),
        build_encoder(
            "mobilenetv2_035",
            written(
                tmp_path, weights | {"conv_head.weight": weights["conv_head.weight"] * 1.001}, PLAIN
            ),
        ),
    ]
    assert len({encoder.fingerprint() for encoder in encoders}) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv_stem.weight": None}, r"lacks 'conv_stem.weight'$"),
        ({"other": torch.zeros(1)}, r"has the unknown 'other'$"),
        ({"bn1.bias": torch.zeros(3)}, r"'bn1.bias' is \(3,\), expected \(16,\)"),
    ],
)
def test_a_wrong_weights_file_says_what_was_expected_and_found(
    tmp_path: Path, weights: dict[str, torch.Tensor], change: dict[str, torch.Tensor], message: str
) -> None:
    state = {k: v for k, v in (weights | change).items() if v is not None}
    path = written(tmp_path, state, PLAIN)
    with pytest.raises(RecipeError, match=message) as error:
        build_encoder("mobilenetv2_035", path)
    assert str(error.value).startswith(f"{Path(path).name}: not weights of 'mobilenetv2_035'")
    assert "\n" not in str(error.value)


def test_another_networks_file_is_refused_by_both_names(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    path = written(tmp_path, weights, PLAIN | {"architecture": "mobilenetv2_035"})
    with pytest.raises(
        RecipeError, match=r"holds weights of 'mobilenetv2_035', the recipe names 'test_resnet'"
    ):
        build_encoder("test_resnet", path)


def test_a_classifier_in_the_file_is_left_out_whatever_its_classes(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    assert "classifier.weight" in weights
    bare = {k: v for k, v in weights.items() if not k.startswith("classifier")}
    both = [
        build_encoder("mobilenetv2_035", written(tmp_path, state, PLAIN))
        for state in (weights, bare)
    ]
    assert torch.equal(features(both[0]), features(both[1]))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"mean": "0.5,x", "std": "1,1,1"}, "metadata: cannot be read"),
        ({"mean": "1,1,1", "std": "1,1,1", "input_size": "64"}, "metadata: cannot be read"),
        ({SPEC_KEY: "{"}, "metadata: not valid JSON"),
        ({SPEC_KEY: "{}"}, "metadata: network: missing"),
        ({SPEC_KEY: '{"network": 3}'}, "metadata: network: must be text"),
        ({SPEC_KEY: '{"network": "resnet18", "folded": 1}'}, "metadata: folded: must be true"),
        (
            PLAIN | {"timm_kwargs": "pretrained=True"},
            "options.pretrained: a weights file may not set pretrained=True",
        ),
        (PLAIN | {"timm_kwargs": "pad_type=sane"}, "pad_type=sane"),
        (
            PLAIN | {"interpolation": "cubic"},
            "preprocessing.interpolation: must be one of bilinear, bicubic",
        ),
    ],
)
def test_damaged_or_forbidden_metadata_is_refused(
    tmp_path: Path, weights: dict[str, torch.Tensor], metadata: dict[str, str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        build_encoder("mobilenetv2_035", written(tmp_path, weights, metadata))


def test_padding_for_a_network_without_that_option_is_refused(tmp_path: Path) -> None:
    state = dict(timm.create_model("test_resnet", num_classes=0).state_dict())
    path = written(tmp_path, state, PLAIN | {"timm_kwargs": "pad_type=same"})
    with pytest.raises(RecipeError, match=r"'test_resnet'.*pad_type"):
        build_encoder("test_resnet", path)


@pytest.mark.parametrize("start", [b"\x80", b"PK"])
def test_a_safetensors_file_that_starts_like_a_pickle_or_zip_is_read(
    tmp_path: Path, start: bytes
) -> None:
    """A file starts with the length of its header, whose bytes can be those of other formats."""
    tensors = {"weight": torch.ones(2)}
    length = int.from_bytes(start, "little")
    header = int.from_bytes(
        Path(written(tmp_path, tensors, {"note": ""})).read_bytes()[:8], "little"
    )
    path = Path(written(tmp_path, tensors, {"note": " " * ((length - header) % 2**16)}))
    assert path.read_bytes().startswith(start)
    assert torch.equal(read_weights(path, "mobilenetv2_035").state["weight"], torch.ones(2))


def test_a_missing_file_or_another_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"gone\.safetensors: no such file .*hub, none or a"):
        build_encoder("test_resnet", str(tmp_path / "gone.safetensors"))
    (tmp_path / "text.safetensors").write_text("no weights in here")
    with pytest.raises(TrainingError, match=r"text\.safetensors: neither a safetensors file"):
        build_encoder("test_resnet", str(tmp_path / "text.safetensors"))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mobilnetv2", "mobilenetv2"),
        ("resnet-18", "resnet18"),
        ("test_resnet_", "test_resnet"),
        ("Xception", "xception"),
    ],
)
def test_an_unknown_network_suggests_similar_names(name: str, near: str) -> None:
    with pytest.raises(RecipeError) as error:
        build_encoder(name, "none")
    assert str(error.value).startswith(
        f"encoder '{name}': neither a preset (mobilenetv2, xception)"
    )
    assert near in str(error.value).split("did you mean ")[1]


def test_an_unknown_tag_of_a_known_network_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"no such weights, only .*mobilenetv2_100\.ra_in1k"):
        build_encoder("mobilenetv2_100.imagenet", "none")


@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224"])
def test_a_network_without_a_feature_map_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"encoder '{name}': not a CNN"):
        build_encoder(name, "none")


def test_an_image_size_that_a_network_cannot_read_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"cannot read photos of 16 x 16 .* another image_size"):
        build_encoder("inception_v3", "none", image_size=16)


def test_a_network_without_weights_on_the_hub_is_refused() -> None:
    with pytest.raises(RecipeError, match="the hub has no weights for it"):
        build_encoder("mobilenetv2_035", "hub")


@pytest.mark.parametrize(
    ("name", "options", "epsilon"),
    [("xception", {"max_pool": "same"}, 1e-3), ("mobilenetv2", {}, None)],
)
def test_weights_from_the_hub_get_their_training_settings(
    name: str, options: dict[str, str], epsilon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = timm.create_model

    def from_no_hub(network: str, pretrained: bool = False, **more: Any) -> Any:
        return real(network, **more)

    monkeypatch.setattr("timm.create_model", from_no_hub)
    spec = build_encoder(name, "hub", image_size=64).spec
    assert (spec.options, spec.batch_norm_epsilon) == (options, epsilon)
    assert spec.source.startswith("timm hub: ")


@pytest.mark.parametrize("name", ["mobilenetv2", "legacy_xception"])
def test_an_unreachable_hub_suggests_a_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's own code: one network's weights are on the Hugging Face hub, the other's on GitHub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # read at import
    with pytest.raises(TrainingError) as error:
        build_encoder(name, "hub")
    assert "could not be downloaded from the hub" in str(error.value)
    assert "encoder_weights=FILE" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unreachable_hub_is_one_line_on_the_command_line(tmp_path: Path) -> None:
    from showtell.data.synthetic.shapes import draw_shapes

    draw_shapes(tmp_path / "shapes", 3, size=32)
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "showtell",
            "train",
            "flickr8k",
            "--data",
            tmp_path / "shapes",
            "--output",
            tmp_path / "run",
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("showtell: encoder 'mobilenetv2'")
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "run").exists()
