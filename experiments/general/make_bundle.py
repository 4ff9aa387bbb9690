"""Step 6: heads, object network and decoders as one model of the product, and its bundle.

Input: the weights of steps 2 and 4, the coefficients of steps 2 and 3, the shipped model.

Output: a bundle folder, without scores and without a calibration of its confidence.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from choose_strength import load_decoder
from extract_features import SIZE
from first_decoders import decoder_settings
from object_network import NETWORK, load_object_network
from places import SHIPPED_MODEL, Places, open_places, step_parser
from showtell.bundle import (
    CARD,
    DECODER_BEGIN,
    DECODER_STEP,
    ENCODER,
    VOCABULARY,
    DecoderInfo,
    DetectorInfo,
    Manifest,
    PrecisionInfo,
    load_bundle,
    save_bundle,
)
from showtell.bundle.model_card import model_card
from showtell.bundle.registry import find_bundle
from showtell.export.onnx_graphs import decoder_graphs, encoder_graph
from showtell.export.quantize import at_precision
from showtell.image import load_pixels
from showtell.nets.batch_norm_folding import fold_batch_norm
from showtell.nets.detector_settings import DetectorSettings
from showtell.nets.encoder import Encoder
from showtell.nets.gated_decoder import GatedDecoder
from showtell.nets.model import CaptionModel
from showtell.nets.object_classes import class_matrix
from showtell.nets.word_detector import WordDetector
from showtell.training.warm_start import InitialModel, open_initial_model
from showtell.vocabulary import FIRST_WORD, Vocabulary
from stack_logits import Detection
from words import Integers, Words, count_words, ids_of

PRECISION = PrecisionInfo("float16", "int8")
FURTHER_SECONDS = 2200  # of training, about, beside those of the shipped model
TERMS = (
    " Its words for other things come from the captions of Flickr30k (Young et al., 2014), as text,"
    " on the same terms; 5,855 photos of COCO (Lin et al., 2014; various Creative Commons licences,"
    " many non-commercial) were used without captions. The object network is EfficientNet-Lite2,"
    " trained on ImageNet (Apache-2.0)."
)


def bundle_order(words: Words) -> Vocabulary:
    """Return the vocabulary with the detected words first: caption words, then object words."""
    start = words.vocabulary.words[:FIRST_WORD]
    order = [*start, *words.caption_words, *words.object_words, *words.vocabulary.words]
    return Vocabulary(tuple(dict.fromkeys(order)), words.shipped.min_count)


def build_model(
    places: Places, words: Words, detection: Detection, decoder: GatedDecoder
) -> tuple[CaptionModel, Vocabulary, DetectorSettings]:
    """Return the model, its vocabulary and the settings of its detector."""
    initial = open_initial_model(SHIPPED_MODEL)
    vocabulary = bundle_order(words)
    further = set(words.object_words) - set(words.caption_words)
    captions = len(words.caption_words)
    settings = DetectorSettings(words=captions + len(further), caption_words=captions)
    shipped = initial.model.encoder
    encoder = Encoder(replace(shipped.spec, detector=settings), shipped.network)
    model = CaptionModel(encoder, decoder_settings(len(decoder.members)), len(vocabulary)).eval()
    own, detector = model.decoder, encoder.detector
    if not isinstance(own, GatedDecoder) or detector is None:
        raise SystemExit("the model should have a gated decoder and a detector")
    with torch.no_grad():
        copy_decoder(own, decoder, words, vocabulary)
        fill_detector(detector, places, words, initial)
        fill_stack(detector, places, words, detection, vocabulary)
    return model, vocabulary, settings


def copy_decoder(
    own: GatedDecoder, trained: GatedDecoder, words: Words, vocabulary: Vocabulary
) -> None:
    """Copy the trained decoder, with its words in the order of the bundle."""
    ids = ids_of(words.vocabulary)
    order = torch.tensor([ids[word] for word in vocabulary.words])
    for member, weights in zip(own.members, trained.members, strict=True):
        state = dict(weights.state_dict())
        for name in ("embed.weight", "word.weight", "word.bias"):
            state[name] = state[name][order]
        member.load_state_dict(state)
    detected = order[FIRST_WORD : FIRST_WORD + own.detected] - FIRST_WORD
    own.log_prior.bias.copy_(trained.log_prior.bias[detected])
    own.strength.bias.copy_(trained.strength.bias[detected])
    own.is_object.bias.copy_(trained.is_object.bias[order])


def fill_detector(
    detector: WordDetector, places: Places, words: Words, initial: InitialModel
) -> None:
    """Give the detector both heads, the object network and the words of its classes."""
    head = initial.model.concept_head
    if head is None:
        raise SystemExit(f"{SHIPPED_MODEL} has no concept head")
    detector.concepts.load_state_dict(head.state_dict())
    full = load_object_network(places.object_weights)
    size = detector.objects.size
    network: nn.Module = timm.create_model(NETWORK, num_classes=0, global_pool="").eval()
    network.load_state_dict(
        {n: w for n, w in full.state_dict().items() if not n.startswith("classifier")}
    )
    fold_batch_norm(network, torch.zeros(1, 3, size, size))
    detector.objects.network = network
    detector.classes.load_state_dict(full.classifier.state_dict())
    _fill_second_head(detector, places, words)
    order = bundle_order(words).words[FIRST_WORD : FIRST_WORD + detector.settings.words]
    detector.class_words.weight.copy_(torch.from_numpy(class_matrix(order).T))


def _fill_second_head(detector: WordDetector, places: Places, words: Words) -> None:
    stored = load_file(places.work / "second_head.safetensors")
    features = np.load(places.windows("train"), mmap_mode="r")[:, 0].astype(np.float32)
    scale = float(torch.from_numpy(features).std())
    rows = _rows(words.caption_words, words.content_words)
    for layer, name in ((detector.photo_logits, "photo"), (detector.window_logits, "window")):
        layer.weight.zero_()
        layer.weight[rows] = stored[f"{name}.weight"] / scale
    detector.photo_logits.bias.zero_()
    detector.photo_logits.bias[rows] = stored["photo.bias"]


def _rows(order: tuple[str, ...], words: tuple[str, ...]) -> Tensor:
    row = {word: i for i, word in enumerate(order)}
    return torch.tensor([row[word] for word in words])


def fill_stack(
    detector: WordDetector,
    places: Places,
    words: Words,
    detection: Detection,
    vocabulary: Vocabulary,
) -> None:
    """Give the detector the coefficients of the classes' log-odds and of the three logits."""
    odds = json.loads((places.work / "object_odds.json").read_text("utf-8"))
    detector.odds.weight.copy_(torch.tensor([odds["weights"]]))
    detector.odds.bias.zero_()
    detector.stack.weight.zero_()
    detector.stack.bias.zero_()
    bias_of = dict(zip(words.object_words, odds["biases"], strict=True))
    content = set(words.content_words)
    # the experiment stacked the first object word's logit for words that are none: its mean on dev
    first_object = float(np.mean(detection.sources["objects_dev"][:, 0]))
    detected = vocabulary.words[FIRST_WORD : FIRST_WORD + detector.settings.words]
    for i, word in enumerate(detected):
        if word in content:
            stack = detection.stacks.of(word in bias_of)
            first, second, classes = stack.weights
            own = classes if word in bias_of else 0.0
            detector.stack.weight[i] = torch.tensor([first, second, own])
            detector.stack.bias[i] = stack.bias + classes * bias_of.get(word, first_object)
        elif word in bias_of:
            detector.stack.weight[i] = torch.tensor([0.0, 0.0, 1.0])
            detector.stack.bias[i] = bias_of[word]


def compare_detection(
    model: CaptionModel, places: Places, words: Words, detection: Detection, vocabulary: Vocabulary
) -> float:
    """Return the largest difference of the detector's logits from the experiment's."""
    preprocessing = model.encoder.spec.preprocessing
    photos = places.photos("coco_dev")[:6]
    pixels = np.stack([load_pixels(photo, preprocessing) for photo in photos])
    if pixels.shape[-1] != SIZE:
        raise SystemExit(f"the features were extracted at {SIZE} pixels")
    with torch.inference_mode():
        logits = model.encoder(torch.from_numpy(pixels))["detected"].numpy()
    ids = ids_of(vocabulary)
    columns: Integers = np.array([ids[word] - FIRST_WORD for word in words.concepts])
    expected = detection.logits("coco_dev")[: len(photos)]
    return float(np.abs(logits[:, columns] - expected).max())


def new_manifest(model: CaptionModel, detector: DetectorSettings) -> Manifest:
    """Return the manifest, from the shipped model's."""
    shipped = load_bundle(find_bundle(SHIPPED_MODEL)).manifest
    names = {"memory": model.decoder.memory_names, "state": model.decoder.state_names}
    arrays = {part: tuple(array_names) for part, array_names in names.items()}
    recipe = dict(shipped.training.recipe) | {"decoder": asdict(model.settings)}
    seconds = shipped.training.seconds + FURTHER_SECONDS
    return replace(
        shipped,
        name="general",
        terms=shipped.terms + TERMS,
        encoder=replace(shipped.encoder, detector=DetectorInfo(**asdict(detector))),
        decoder=DecoderInfo(kind="attention", attention=True, **arrays),
        training=replace(shipped.training, recipe=recipe, init_from=SHIPPED_MODEL, seconds=seconds),
        scores=(),
        confidence=None,
        precision=PRECISION,
        files={},
        format_version=2,
    )


def write_bundle(
    model: CaptionModel, vocabulary: Vocabulary, manifest: Manifest, out: Path
) -> None:
    """Export the model at its precision."""
    begin, step = decoder_graphs(model)
    files = {
        VOCABULARY: vocabulary.to_json().encode(),
        ENCODER: at_precision(encoder_graph(model), PRECISION.encoder),
        DECODER_BEGIN: at_precision(begin, PRECISION.decoder),
        DECODER_STEP: at_precision(step, PRECISION.decoder),
        CARD: model_card(manifest, vocabulary).encode(),
    }
    save_bundle(out, manifest, files)


def main() -> None:
    """Build the model, compare its detection with the experiment's, and export it."""
    parser = step_parser(__doc__)
    parser.add_argument("--name", default="decoders", help="of the weights file")
    parser.add_argument("--members", default="0,1", help="decoders of the file to use")
    parser.add_argument("--others", type=float, default=1.25, help="strength of other concepts")
    parser.add_argument("--objects", type=float, default=1.5, help="strength of object words")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    options = parser.parse_args()
    places = open_places(options)
    words = count_words(places)
    detection = Detection(places, words)
    members = [int(number) for number in options.members.split(",")]
    weights = places.work / f"{options.name}.safetensors"
    decoder = load_decoder(weights, words, detection, members, (options.others, options.objects))
    model, vocabulary, detector = build_model(places, words, detection, decoder)
    difference = compare_detection(model, places, words, detection, vocabulary)
    print("largest difference of a logit from the experiment's:", difference)
    write_bundle(model, vocabulary, new_manifest(model, detector), options.out)


if __name__ == "__main__":
    main()
