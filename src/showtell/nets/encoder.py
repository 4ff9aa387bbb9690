"""CNN encoders: any timm network, with the settings that belong to its weights.

Padding, batch-norm epsilon, mean and standard deviation are properties of the weights, not of the
network: MobileNetV2 with another padding gives features that correlate only 0.30 with the right
ones. They are read from the weights file and are part of every checkpoint.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from showtell.decoding.keywords import DETECTED
from showtell.errors import RecipeError, TrainingError
from showtell.files.plain_data import parse_json
from showtell.files.typed_settings import load_settings
from showtell.image import Preprocessing
from showtell.nets.batch_norm_folding import fold_batch_norm
from showtell.nets.detector_settings import DetectorSettings
from showtell.nets.same_padding import pad_pools_same
from showtell.nets.weights_file import read_weights
from showtell.nets.word_detector import WordDetector

logger = logging.getLogger(__name__)

Trainable = Literal["none", "last", "all"]
SPEC_KEY = "showtell_encoder"  # key of an EncoderSpec as JSON in safetensors metadata
# options that a weights file may set: an argument of timm.create_model, and padding of max-pools
ALLOWED_OPTIONS = {"pad_type": ("", "same", "valid"), "max_pool": ("", "same")}
_DETECTOR = "detector."  # in front of the names of the detector's weights


@dataclass(frozen=True)
class EncoderSpec:
    """Everything that determines what an encoder computes, apart from its weights."""

    network: str  # timm's name
    options: dict[str, str] = field(default_factory=dict)  # see ALLOWED_OPTIONS
    batch_norm_epsilon: float | None = None  # None: timm's default
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    source: str = "random"  # where the weights come from
    folded: bool = False  # batch norm is folded into the convolutions
    learns_norm: bool = False  # batch norm is trained, because the initial weights are random
    detector: DetectorSettings | None = None  # of words, beside the features

    def __post_init__(self) -> None:
        for name, value in self.options.items():
            if value not in ALLOWED_OPTIONS.get(name, ()):
                raise RecipeError(f"options.{name}: a weights file may not set {name}={value}")

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as plain JSON data."""
        spec = {
            "network": self.network,
            "options": self.options,
            "batch_norm_epsilon": self.batch_norm_epsilon,
            "preprocessing": self.preprocessing.to_dict(),
            "source": self.source,
            "folded": self.folded,
            "learns_norm": self.learns_norm,
        }
        if self.detector:  # left out otherwise: features are cached by their spec
            spec["detector"] = asdict(self.detector)
        return spec

    @classmethod
    def from_dict(cls, data: dict[str, Any], source: str | Path = "encoder") -> EncoderSpec:
        """Read what `to_dict` returned; `source` is the file that errors name.

        Raises RecipeError on a missing or unknown key and on a wrong value.
        """
        return load_settings(cls, data, error=RecipeError, source=source)


@dataclass(frozen=True)
class Preset:
    """A network with a common short name, built on timm's network."""

    network: str
    keras_on_hub: bool = False  # timm publishes Keras' weights, which need Keras' settings


PRESETS = {
    "mobilenetv2": Preset("mobilenetv2_100"),
    "xception": Preset("legacy_xception", keras_on_hub=True),
}


def keras_spec(network: str, source: str) -> EncoderSpec:
    """Return the settings of Keras' published weights for timm's `network`.

    The epsilon of batch norm is 1e-3 in Keras and 1e-5 in timm, and TensorFlow pads convolutions
    and max-pools differently from PyTorch.
    """
    if network.startswith("legacy_xception"):
        photos = Preprocessing(299, 299, interpolation="bicubic")
        return EncoderSpec(network, {"max_pool": "same"}, 1e-3, photos, source)
    return EncoderSpec(network, {"pad_type": "same"}, 1e-3, Preprocessing(), source)


class Encoder(nn.Module):
    """A CNN without its classifier: pixels [batch, 3, height, width] to regions and their mean.

    Batch norm of pretrained weights is frozen, also in training, and folded into the convolutions:
    the statistics of small batches of one dataset are worse than those of ImageNet. Batch norm of
    random weights is not folded, and is trained when the whole encoder is.

    With a detector, which is never trained here, the features include the detected words.
    """

    def __init__(self, spec: EncoderSpec, network: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        self.network = network.eval()
        self.trainable: Trainable = "none"
        size = (spec.preprocessing.height, spec.preprocessing.width)
        try:
            with torch.no_grad():
                feature_map = self._feature_map(torch.zeros(1, 3, *size))
                shape: tuple[int, ...] = tuple(getattr(feature_map, "shape", ()))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise RecipeError(
                f"encoder '{spec.network}': cannot read photos of {size[0]} x {size[1]} pixels"
                f" ({_first_line(error)}): choose another image_size"
            ) from None
        if len(shape) != 4:
            raise RecipeError(
                f"encoder '{spec.network}': not a CNN (its output is not a feature map)"
            )
        self.channels: int = shape[1]
        self.grid: tuple[int, int] = (shape[2], shape[3])
        self.detector = WordDetector(self.channels, spec.detector) if spec.detector else None
        if self.detector:
            self.detector.requires_grad_(False)
        self.set_trainable("none")

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return `regions` [batch, regions, channels], row-major; `pooled` [batch, channels].

        With a detector, also `detected`: the logits of words, [batch, words].
        """
        feature_map = self._feature_map(pixels)  # [batch, channels, h, w]
        regions = feature_map.flatten(2).transpose(1, 2)  # [batch, h * w, channels]
        # a mean over the last dimensions, which ONNX Runtime rounds the same way for one photo and
        # for many
        features = {"regions": regions, "pooled": feature_map.mean((2, 3))}
        if self.detector:
            features[DETECTED] = self.detector(pixels, features)
        return features

    def _feature_map(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.network.forward_features(pixels)  # type: ignore[operator]
        if getattr(self.network, "output_fmt", None) == "NHWC":
            return features.permute(0, 3, 1, 2)
        return features

    def set_trainable(self, part: Trainable) -> None:
        """Choose what training may change: nothing, the last stage, or all parameters.

        Batch norm changes only where the spec says that it is trained.

        Raises RecipeError for the last stage of a network whose stages timm does not list.
        """
        self.trainable = part
        last_stage = self._last_stage() if part == "last" else set()
        for name, module in self.network.named_modules():
            is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
            frozen = is_norm and not self.spec.learns_norm
            trained = not frozen and (part == "all" or name in last_stage)
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(trained)

    def _last_stage(self) -> set[str]:
        """Return the names of the modules after the last stage but one."""
        names = [name for name, _ in self.network.named_modules()]  # in the order of execution
        try:
            stage = str(self.network.feature_info[-2]["module"])  # type: ignore[index]
            within = [name for name in names if name == stage or name.startswith(f"{stage}.")]
            return set(names[names.index(within[-1]) + 1 :])
        except (AttributeError, IndexError, KeyError, TypeError):
            raise RecipeError(
                f"encoder '{self.spec.network}': timm does not list its stages: set train_encoder"
                " to all or none"
            ) from None

    def has_unused_parameters(self) -> bool:
        """Whether some trained weights do not affect the features: layers after the feature map."""
        weights = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if not weights:
            return False
        size = (self.spec.preprocessing.height, self.spec.preprocessing.width)
        pixels = torch.zeros(1, 3, *size, device=weights[0].device)
        training = self.training
        features = self.eval()._feature_map(pixels)  # batch norm must not count these pixels
        self.train(training)
        grads = torch.autograd.grad(features.sum(), weights, allow_unused=True)
        return any(grad is None for grad in grads)

    def train(self, mode: bool = True) -> Encoder:
        """Set training mode; batch norm keeps its statistics unless the spec says it is trained."""
        super().train(mode)
        if mode and self.spec.learns_norm and self.trainable == "all":
            return self
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def fold_batch_norm(self) -> None:
        """Fold batch norm into the convolutions, in place: the same result, computed faster."""
        if not self.spec.folded:
            size = (self.spec.preprocessing.height, self.spec.preprocessing.width)
            fold_batch_norm(self.network, torch.zeros(1, 3, *size))
            self.spec = replace(self.spec, folded=True)
            self.set_trainable(self.trainable)

    def weights(self) -> dict[str, Tensor]:
        """Return the weights under the names that `encoder_from_spec` reads."""
        weights: dict[str, Tensor] = self.network.state_dict()
        if self.detector:
            weights |= {f"{_DETECTOR}{k}": v for k, v in self.detector.state_dict().items()}
        return weights

    def fingerprint(self) -> str:
        """Return a sha256 of spec and weights, which identifies the computed features."""
        digest = hashlib.sha256(json.dumps(self.spec.to_dict(), sort_keys=True).encode())
        for name, tensor in sorted(self.weights().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def build_encoder(name: str, weights: str = "hub", image_size: int = 0) -> Encoder:
    """Build the encoder `name`, a preset or a timm network, with `weights` hub, none or a file.

    `image_size` in pixels replaces the size that belongs to the weights; 0 keeps that.

    Raises RecipeError on an unknown name or weights that do not fit, and TrainingError where the
    hub cannot be reached.
    """
    network = _known_network(name)
    if weights == "hub":
        encoder = _from_hub(name, network)
    elif weights == "none":
        spec = (keras_spec if name in PRESETS else _timm_spec)(network, "random")
        encoder = encoder_from_spec(replace(spec, learns_norm=True))
    else:
        encoder = _from_file(name, network, Path(weights).expanduser())
    if image_size:
        size = replace(encoder.spec.preprocessing, height=image_size, width=image_size)
        encoder = Encoder(replace(encoder.spec, preprocessing=size), encoder.network)
    if not encoder.spec.learns_norm:
        encoder.fold_batch_norm()
    return encoder


def encoder_from_spec(spec: EncoderSpec, state: dict[str, Tensor] | None = None) -> Encoder:
    """Build the encoder that `spec` describes, with the weights `state` or random ones."""
    try:
        model = _create(spec.network, pretrained=False, **spec.options)
    except TypeError as error:  # an option of the weights file that this network does not have
        raise RecipeError(f"{spec.source}: '{spec.network}' {_first_line(error)}") from None
    _set_epsilon(model, spec.batch_norm_epsilon)
    encoder = Encoder(replace(spec, folded=False), model)
    if spec.folded:
        encoder.fold_batch_norm()
    if state is not None:
        _load(model, {k: v for k, v in state.items() if not k.startswith(_DETECTOR)}, spec)
        if encoder.detector:
            encoder.detector.load_state_dict(
                {k.removeprefix(_DETECTOR): v for k, v in state.items() if k.startswith(_DETECTOR)}
            )
    return encoder


def _known_network(name: str) -> str:
    """Return timm's name of the network `name`, which is a preset or timm's name."""
    network = PRESETS[name].network if name in PRESETS else name
    if not timm.is_model(network):
        near = difflib.get_close_matches(name, [*PRESETS, *timm.list_models()], 3)
        hint = f": did you mean {' or '.join(near)}?" if near else ""
        raise RecipeError(
            f"encoder '{name}': neither a preset ({', '.join(PRESETS)}) nor in timm{hint}"
        )
    try:
        timm.get_pretrained_cfg(network)
    except RuntimeError:  # a known network with an unknown tag of weights
        near = timm.list_pretrained(f"{network.split('.')[0]}.*")
        raise RecipeError(
            f"encoder '{name}': timm has no such weights, only {', '.join(near) or 'the network'}"
        ) from None
    return network


def _create(network: str, max_pool: str = "", **options: Any) -> nn.Module:
    """Create timm's network without classifier and, where timm allows it, without pooling."""
    try:
        model: nn.Module = timm.create_model(network, num_classes=0, global_pool="", **options)
    except AssertionError:  # "Cannot disable pooling", which does not matter: it never runs
        model = timm.create_model(network, num_classes=0, **options)
    if max_pool == "same":
        pad_pools_same(model)
    return model


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _timm_spec(network: str, source: str) -> EncoderSpec:
    """Return timm's settings for a network."""
    config = timm.get_pretrained_cfg(network)
    if config is None:
        return EncoderSpec(network, source=source)
    return EncoderSpec(network, preprocessing=_timm_preprocessing(vars(config)), source=source)


def _timm_preprocessing(config: dict[str, Any]) -> Preprocessing:
    _, height, width = config["input_size"]
    crop = float(config.get("crop_pct") or 1.0)
    return Preprocessing(
        height=height,
        width=width,
        resize="squash" if config.get("crop_mode") == "squash" else "crop",
        crop_fraction=crop,
        interpolation=config.get("interpolation", "bicubic"),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def _from_hub(name: str, network: str) -> Encoder:
    settings = timm.get_pretrained_cfg(network)
    if settings is None or not settings.has_weights:
        raise RecipeError(
            f"encoder '{network}': the hub has no weights for it:"
            " give encoder_weights=FILE.safetensors, or none"
        )
    keras = keras_spec(network, "") if name in PRESETS and PRESETS[name].keras_on_hub else None
    try:
        model = _create(network, pretrained=True, **(keras.options if keras else {}))
    except Exception as error:  # huggingface_hub, urllib and httpx raise errors of their own
        raise TrainingError(
            f"encoder '{name}': its weights could not be downloaded from the hub"
            f" ({type(error).__name__}): give a file with encoder_weights=FILE"
        ) from error
    config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    spec = keras or EncoderSpec(network, preprocessing=_timm_preprocessing(config))
    _set_epsilon(model, spec.batch_norm_epsilon)
    source = f"timm hub: {config.get('hf_hub_id') or network}"
    return Encoder(replace(spec, source=source), model)


def _from_file(name: str, network: str, path: Path) -> Encoder:
    bare = network.split(".")[0]  # a tag names weights, not a network
    file = read_weights(path, bare)
    if file.of_keras:
        spec = keras_spec(network, path.name)
    else:
        spec = _spec_of_file(name, network, path, file.metadata)
    if spec.network.split(".")[0] != bare:
        raise RecipeError(
            f"{path}: holds weights of '{spec.network}', the recipe names '{network}'"
        )
    return encoder_from_spec(spec, file.state)


def _spec_of_file(name: str, network: str, path: Path, metadata: dict[str, str]) -> EncoderSpec:
    """Return the encoder settings in a weights file's metadata, or the network's usual ones."""
    source = f"{path}: metadata"
    if SPEC_KEY in metadata:
        data = parse_json(metadata[SPEC_KEY], error=RecipeError, source=source)
        return EncoderSpec.from_dict(data, source)
    if "mean" in metadata and "std" in metadata:
        try:
            data = _plain_spec(network, path, metadata)
        except (ValueError, KeyError, TypeError) as error:
            raise RecipeError(f"{source}: cannot be read ({error})") from None
        return EncoderSpec.from_dict(data, source)
    of_keras = name in PRESETS and PRESETS[name].keras_on_hub
    logger.warning(
        "%s has no encoder settings: using those of %s '%s'",
        path,
        "Keras for" if of_keras else "timm's",
        network,
    )
    return (keras_spec if of_keras else _timm_spec)(network, path.name)


def _plain_spec(network: str, path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """Read settings that are plain text: `mean`, `std`, `input_size`, `timm_kwargs` and others."""

    def numbers(key: str) -> tuple[float, ...]:
        return tuple(float(x) for x in metadata[key].split(","))

    options = dict(item.split("=", 1) for item in metadata.get("timm_kwargs", "").split() if item)
    preprocessing: dict[str, Any] = {"mean": numbers("mean"), "std": numbers("std")}
    if "input_size" in metadata:
        _, height, width = (int(x) for x in numbers("input_size"))
        preprocessing |= {"height": height, "width": width}
    if "interpolation" in metadata:
        preprocessing["interpolation"] = metadata["interpolation"]
    epsilon = metadata.get("batch_norm_epsilon")
    return {
        "network": metadata.get("architecture", network),
        "options": options,
        "batch_norm_epsilon": float(epsilon) if epsilon else None,
        "preprocessing": preprocessing,
        "source": metadata.get("source", path.name),
    }


def _set_epsilon(model: nn.Module, epsilon: float | None) -> None:
    if epsilon is None:
        return
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eps = epsilon


def _first_and_count(names: list[str]) -> str:
    more = len(names) - 1
    return f"'{names[0]}'" + (f" and {more} more" if more else "")


def _load(model: nn.Module, state: dict[str, Tensor], spec: EncoderSpec) -> None:
    """Load weights into the network, without the classifier that a file may have."""
    expected = model.state_dict()
    classifiers = model.default_cfg.get("classifier", ())  # type: ignore[union-attr, operator]
    names = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    state = {k: v for k, v in state.items() if not k.startswith(tuple(f"{n}." for n in names))}
    # published files often lack the counters of batches, which are not used here
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    unknown = [k for k in state if k not in expected]
    wrong = [k for k in expected if k in state and state[k].shape != expected[k].shape]
    if missing or unknown or wrong:
        problems = [f"lacks {_first_and_count(missing)}"] if missing else []
        if unknown:
            problems.append(f"has the unknown {_first_and_count(unknown)}")
        problems += [
            f"'{k}' is {tuple(state[k].shape)}, expected {tuple(expected[k].shape)}"
            for k in wrong[:1]
        ]
        raise RecipeError(f"{spec.source}: not weights of '{spec.network}': {'; '.join(problems)}")
    model.load_state_dict(state, strict=False)
