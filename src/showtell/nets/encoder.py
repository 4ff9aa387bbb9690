"""CNN encoders: any timm network, with the settings that belong to its weights.

Padding, batch-norm epsilon, mean and standard deviation are properties of the weights, not of the
network's name: the same MobileNetV2 with another padding gives features that correlate 0.30.
So they are read from the weights file, travel in every checkpoint, and are never guessed.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import timm
import torch
from torch import Tensor, nn

from showtell.errors import RecipeError, TrainingError
from showtell.image import Interpolation, Preprocessing, Resize
from showtell.nets.batch_norm_folding import fold_batch_norm
from showtell.nets.same_padding import pad_pools_same
from showtell.nets.weights_file import read_weights

logger = logging.getLogger(__name__)

Trainable = Literal["none", "last", "all"]
SPEC_KEY = "showtell_encoder"  # in a safetensors file's metadata: our own EncoderSpec as JSON
# what a weights file may set: an argument of timm.create_model, and how max-pools pad
ALLOWED_OPTIONS = {"pad_type": ("", "same", "valid"), "max_pool": ("", "same")}


@dataclass(frozen=True)
class EncoderSpec:
    """Everything beside the weights that fixes what an encoder computes."""

    network: str  # timm's name
    options: dict[str, str] = field(default_factory=dict)  # of ALLOWED_OPTIONS
    batch_norm_epsilon: float | None = None  # None: as timm builds the network
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    source: str = "random"
    folded: bool = False  # batch norm folded into the convolutions
    learns_norm: bool = False  # batch norm is trained: for weights that begin at random

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as plain JSON data."""
        return {
            "network": self.network,
            "options": self.options,
            "batch_norm_epsilon": self.batch_norm_epsilon,
            "preprocessing": self.preprocessing.to_dict(),
            "source": self.source,
            "folded": self.folded,
            "learns_norm": self.learns_norm,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> EncoderSpec:
        """Read what `to_dict` returned; raises RecipeError on an option that is not allowed."""
        for name, value in data["options"].items():
            if value not in ALLOWED_OPTIONS.get(name, ()):
                raise RecipeError(f"encoder option {name}={value}: a weights file may not set it")
        preprocessing = Preprocessing.from_dict(data["preprocessing"])
        for value, known in (
            (preprocessing.resize, get_args(Resize)),
            (preprocessing.interpolation, get_args(Interpolation)),
        ):
            if value not in known:
                raise RecipeError(f"encoder preprocessing: '{value}' is none of {', '.join(known)}")
        return cls(**{**data, "preprocessing": preprocessing})


@dataclass(frozen=True)
class Preset:
    """A network of Keras by the name that the field knows it by, built on timm's."""

    network: str
    keras_on_hub: bool = False  # timm's weights of it are Keras' own, and want Keras' settings


PRESETS = {
    "mobilenetv2": Preset("mobilenetv2_100"),
    "xception": Preset("legacy_xception", keras_on_hub=True),
}


def keras_spec(network: str, source: str) -> EncoderSpec:
    """Return the settings of Keras' published weights for timm's `network`.

    Keras' batch norm has an epsilon of 1e-3 where timm has 1e-5, and TensorFlow pads
    convolutions and max-pools otherwise than PyTorch.
    """
    if network.startswith("legacy_xception"):
        photos = Preprocessing(299, 299, interpolation="bicubic")
        return EncoderSpec(network, {"max_pool": "same"}, 1e-3, photos, source)
    return EncoderSpec(network, {"pad_type": "same"}, 1e-3, Preprocessing(), source)


class Encoder(nn.Module):
    """A CNN without its classifier: pixels [batch, 3, H, W] to regions and their mean.

    Batch norm stays frozen in training too, folded into the convolutions: statistics of small
    batches of one dataset are worse than ImageNet's, and weights with folded statistics would
    change under us.
    """

    def __init__(self, spec: EncoderSpec, network: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        self.network = network.eval()
        self.trainable: Trainable = "none"
        size = (spec.preprocessing.height, spec.preprocessing.width)
        try:
            with torch.no_grad():
                found = self._map(torch.zeros(1, 3, *size))
                shape: tuple[int, ...] = tuple(getattr(found, "shape", ()))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise RecipeError(
                f"encoder '{spec.network}': cannot read photos of {size[0]} x {size[1]} pixels"
                f" ({_first_line(error)}): choose another image_size"
            ) from None
        if len(shape) != 4:
            raise RecipeError(f"encoder '{spec.network}': not a CNN (its features are no map)")
        self.channels: int = shape[1]
        self.grid: tuple[int, int] = (shape[2], shape[3])
        self.set_trainable("none")

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return `regions` [batch, regions, channels] by rows, and `pooled` [batch, channels]."""
        found = self._map(pixels)
        regions = found.flatten(2).transpose(1, 2)  # (B, C, h, w) to (B, h * w, C)
        # over the last dimensions, which ONNX Runtime adds up alike for one photo and for many
        return {"regions": regions, "pooled": found.mean((2, 3))}

    def _map(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.network.forward_features(pixels)  # type: ignore[operator]
        if getattr(self.network, "output_fmt", None) == "NHWC":
            return features.permute(0, 3, 1, 2)
        return features

    def set_trainable(self, part: Trainable) -> None:
        """Choose what training may change: nothing, the last stage, or every convolution."""
        self.trainable = part
        modules = dict(self.network.named_modules())
        names = list(modules)  # in the order in which they run
        stage = str(self.network.feature_info[-2]["module"])  # type: ignore[index]
        within = [n for n in names if n == stage or n.startswith(f"{stage}.")]
        last = set(names[names.index(within[-1]) + 1 :])
        for name, module in modules.items():
            norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
            frozen = norm and not self.spec.learns_norm
            train = not frozen and (part == "all" or (part == "last" and name in last))
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(train)

    def has_idle_weights(self) -> bool:
        """Whether weights that train have no part in the features: layers behind the last map."""
        weights = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if not weights:
            return False
        size = (self.spec.preprocessing.height, self.spec.preprocessing.width)
        pixels = torch.zeros(1, 3, *size, device=weights[0].device)
        grads = torch.autograd.grad(self.eval()._map(pixels).sum(), weights, allow_unused=True)
        return any(grad is None for grad in grads)

    def train(self, mode: bool = True) -> Encoder:
        """Set training mode; batch norm keeps its statistics unless it is trained from nothing."""
        super().train(mode)
        if mode and self.spec.learns_norm and self.trainable == "all":
            return self
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def folded(self) -> Encoder:
        """Fold batch norm into the convolutions: the same function, faster; returns itself."""
        if not self.spec.folded:
            size = (self.spec.preprocessing.height, self.spec.preprocessing.width)
            fold_batch_norm(self.network, torch.zeros(1, 3, *size))
            self.spec = replace(self.spec, folded=True)
            self.set_trainable(self.trainable)
        return self

    def fingerprint(self) -> str:
        """Return a sha256 over spec and weights: the identity of the features it computes."""
        digest = hashlib.sha256(json.dumps(self.spec.to_dict(), sort_keys=True).encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def build_encoder(name: str, weights: str = "hub", image_size: int = 0) -> Encoder:
    """Build the encoder `name`, a preset or timm's name, with `weights` hub, none or a file.

    `image_size` (pixels) takes the place of the size that belongs to the weights; 0 keeps it.

    Raises RecipeError on an unknown name or weights that do not fit, TrainingError where the
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
    return encoder if encoder.spec.learns_norm else encoder.folded()


def encoder_from_spec(spec: EncoderSpec, state: dict[str, Tensor] | None = None) -> Encoder:
    """Build an encoder exactly as `spec` says, with `state` as weights where given."""
    try:
        model = _create(spec.network, pretrained=False, **spec.options)
    except TypeError as error:  # a weights file's option that this network does not take
        raise RecipeError(f"{spec.source}: '{spec.network}' {_first_line(error)}") from None
    _set_epsilon(model, spec.batch_norm_epsilon)
    encoder = Encoder(replace(spec, folded=False), model)
    if spec.folded:
        encoder.folded()
    if state is not None:
        _load(model, state, spec)
    return encoder


def _known_network(name: str) -> str:
    """Return timm's name of the network `name`, a preset or already timm's."""
    network = PRESETS[name].network if name in PRESETS else name
    if not timm.is_model(network):
        near = difflib.get_close_matches(name, [*PRESETS, *timm.list_models()], 3)
        hint = f": did you mean {' or '.join(near)}?" if near else ""
        raise RecipeError(
            f"encoder '{name}': neither a preset ({', '.join(PRESETS)}) nor in timm{hint}"
        )
    try:
        timm.get_pretrained_cfg(network)
    except RuntimeError:  # a known network with an unknown tag
        near = timm.list_pretrained(f"{network.split('.')[0]}.*")
        raise RecipeError(
            f"encoder '{name}': timm has no such weights, only {', '.join(near) or 'the network'}"
        ) from None
    return network


def _create(network: str, max_pool: str = "", **options: Any) -> nn.Module:
    """Create timm's network without classifier, and without pooling where it can do without."""
    try:
        model: nn.Module = timm.create_model(network, num_classes=0, global_pool="", **options)
    except AssertionError:  # "Cannot disable pooling", which is never run
        model = timm.create_model(network, num_classes=0, **options)
    if max_pool == "same":
        pad_pools_same(model)
    return model


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _timm_spec(network: str, source: str) -> EncoderSpec:
    """Return timm's own settings for a network."""
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
    except Exception as error:  # huggingface_hub, urllib and httpx each raise their own
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
            f"{path}: holds weights of '{spec.network}', the recipe wants '{network}'"
        )
    return encoder_from_spec(spec, file.state)


def _spec_of_file(name: str, network: str, path: Path, metadata: dict[str, str]) -> EncoderSpec:
    """Read an encoder's settings from its weights file, else from where such files come."""
    try:
        if SPEC_KEY in metadata:
            return EncoderSpec.from_dict(json.loads(metadata[SPEC_KEY]))
        if "mean" in metadata and "std" in metadata:
            return _plain_spec(network, path, metadata)
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path}: its metadata is damaged ({error})") from None
    logger.warning("%s says nothing of its settings: taken as timm's '%s'", path, network)
    if name in PRESETS and PRESETS[name].keras_on_hub:
        return keras_spec(network, path.name)
    return _timm_spec(network, path.name)


def _plain_spec(network: str, path: Path, metadata: dict[str, str]) -> EncoderSpec:
    """Read settings written as plain text: `mean`, `std`, `input_size`, `timm_kwargs`…"""

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
    return EncoderSpec.from_dict(
        {
            "network": metadata.get("architecture", network),
            "options": options,
            "batch_norm_epsilon": float(epsilon) if epsilon else None,
            "preprocessing": Preprocessing(**preprocessing).to_dict(),
            "source": metadata.get("source", path.name),
        }
    )


def _set_epsilon(model: nn.Module, epsilon: float | None) -> None:
    if epsilon is None:
        return
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eps = epsilon


def _load(model: nn.Module, state: dict[str, Tensor], spec: EncoderSpec) -> None:
    """Load weights into the network; the classifier of a whole network is left out."""
    expected = model.state_dict()
    classifiers = model.default_cfg.get("classifier", ())  # type: ignore[union-attr, operator]
    names = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    state = {k: v for k, v in state.items() if not k.startswith(tuple(f"{n}." for n in names))}
    # counters of batches matter to nobody here and are often left out of published files
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    unknown = [k for k in state if k not in expected]
    wrong = [k for k in expected if k in state and state[k].shape != expected[k].shape]
    if missing or unknown or wrong:
        said = [f"lacks '{missing[0]}' and {len(missing) - 1} more"] if missing else []
        said += [f"has '{unknown[0]}' and {len(unknown) - 1} more of its own"] if unknown else []
        said += [
            f"'{k}' is {tuple(state[k].shape)}, expected {tuple(expected[k].shape)}"
            for k in wrong[:1]
        ]
        raise RecipeError(f"{spec.source}: not weights of '{spec.network}': " + "; ".join(said))
    model.load_state_dict(state, strict=False)
