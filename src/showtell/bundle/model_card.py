"""The model card of a bundle: what the model was trained on, how good it is, its terms."""

from __future__ import annotations

from typing import Any

from showtell.bundle.manifest import DetectorInfo, Manifest, ScoreInfo
from showtell.decoding.confidence import Calibration
from showtell.decoding.keywords import SURE, KeywordCalibration
from showtell.decoding.options import DecodingDefaults
from showtell.language.languages import ENGLISH
from showtell.vocabulary import SPECIAL_WORDS, Vocabulary

TERMS = {
    "Flickr8k": "Trained on Flickr8k (Hodosh, Young and Hockenmaier, 2013), which is for research"
    " and education; its photos belong to their photographers.",
    "Flickr30k": "Trained on Flickr30k (Young, Lai, Hodosh and Hockenmaier, 2014), which is for"
    " research and education; its photos belong to their photographers.",
    "COCO": "Trained on COCO (Lin et al., 2014; Chen et al., 2015), whose captions are under"
    " CC BY 4.0; its photos are under Flickr's terms and belong to their photographers.",
}
DEFAULT_NOTES = (
    "It describes what its training photos show. For other photos it gives the nearest description"
    " that it knows, in the same tone: check `confidence`, and the photo."
)
_METRICS = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr",
}


def terms_of(layout: str) -> str:
    """Return the terms that a dataset sets for a model trained on it, as far as they are known."""
    known = next((terms for name, terms in TERMS.items() if name in layout), None)
    return known or "The terms are those of the photos and captions it was trained on."


def model_card(manifest: Manifest, vocabulary: Vocabulary, notes: str = "") -> str:
    """Return the card as Markdown; `notes` describes limits and bias, as a person found them."""
    lines = [
        f"# {manifest.name}",
        "",
        f"Writes one {vocabulary.rules.name} sentence about a photo. {manifest.terms}",
        "",
        "## What it is",
        "",
        *_properties(manifest, vocabulary),
        "",
        *_scores(manifest.scores),
        *_confidence(manifest.confidence),
        *_keywords(manifest.keywords),
        "## Strengths and limits",
        "",
        notes.strip() or DEFAULT_NOTES,
        "",
        "## Terms",
        "",
        f"{manifest.terms} showtell's code is Apache-2.0; that licence does not cover this model's"
        " training data.",
        "",
    ]
    return "\n".join(lines)


def _properties(manifest: Manifest, vocabulary: Vocabulary) -> list[str]:
    encoder, training, preprocessing = manifest.encoder, manifest.training, manifest.preprocessing
    height, width = encoder.grid
    words = len(vocabulary) - len(SPECIAL_WORDS)
    unit = "words" if vocabulary.rules.spaced else "characters and words"
    data = training.dataset
    if "train" in training.photos:
        photos = training.photos["train"]
        data += f", {photos.count} photos with {photos.captions} captions"
    return [
        *_language(vocabulary),
        f"- Encoder: {encoder.network}, {encoder.channels} channels on a grid of"
        f" {height} x {width}; initial weights: {encoder.weights};"
        f" fine-tuned: {_fine_tuned(manifest)}{_shared(encoder.shared_with)}",
        *_detector(encoder.detector),
        f"- Decoder: {_decoder(manifest)}; {words} {unit}",
        f"- Input: {preprocessing.height} x {preprocessing.width} pixels,"
        f" resized by {preprocessing.resize}",
        f"- Decoding: {_decoding(manifest.decoding)}",
        f"- Precision: encoder {manifest.precision.encoder}, decoder {manifest.precision.decoder}",
        f"- Training data: {data}; training took {training.seconds / 60:.0f} minutes",
        f"- Written by: {manifest.written_by}",
    ]


def _fine_tuned(manifest: Manifest) -> str:
    origin = manifest.training.recipe.get("encoder_from")
    parts = [f"as in the model {origin}"] if origin else []
    return ", then ".join([*parts, *manifest.encoder.fine_tuned]) or "none"


def _shared(model: str) -> str:
    return f"; the file is that of the model {model}" if model else ""


def _language(vocabulary: Vocabulary) -> list[str]:
    language = vocabulary.rules
    if language == ENGLISH:
        return []
    casing = vocabulary.casing
    capitals = f", {len(casing.forms)} of its words with capitals" if casing else ""
    return [
        f"- Language: {language.name} ({language.code}), normalisation rule {vocabulary.rule},"
        f" writing rule {vocabulary.writing_rule}{capitals}"
    ]


def _detector(detector: DetectorInfo | None) -> list[str]:
    if detector is None:
        return []
    return [
        f"- Word detector: the encoder and {detector.network} at {detector.size} x {detector.size}"
        f" pixels detect {detector.words} words; the decoder learned when to name them"
    ]


def _decoder(manifest: Manifest) -> str:
    recipe = manifest.training.recipe.get("decoder")
    settings: dict[str, Any] = recipe if isinstance(recipe, dict) else {}
    members = settings.get("members", 1)
    concept_weight = settings.get("concept_weight", 0)
    text = manifest.decoder.kind
    if "hidden" in settings:
        text += f", LSTM of {settings['hidden']} units"
    if isinstance(members, int) and members > 1:
        text += f", ensemble of {members}"
    if isinstance(concept_weight, int | float) and concept_weight:
        text += f", guided by concepts detected in the photo (weight {concept_weight:g})"
    return text


def _decoding(decoding: DecodingDefaults) -> str:
    text = (
        f"beam {decoding.beam}, length penalty {decoding.length_penalty:g},"
        f" at most {decoding.max_length} words"
    )
    if decoding.no_repeat_ngram:
        text += f", no sequence of {decoding.no_repeat_ngram} words twice"
    return text


def _scores(scores: tuple[ScoreInfo, ...]) -> list[str]:
    if not scores:
        return []
    whole = scores[0]
    decoding = f"beam {whole.beam}"
    if whole.length_penalty is not None:  # manifests before 0.1.0 do not have it
        decoding += f", length penalty {whole.length_penalty:g}"
    lines = [
        "## Scores",
        "",
        f"Split {whole.split}, {decoding}, scorer {whole.scorer}, of the model as exported."
        f" {_caution(scores)}",
        "",
        f"| part | photos | {' | '.join(_METRICS.values())} |",
        "|---|---|" + "---|" * len(_METRICS),
    ]
    for score in scores:
        values = [_number(getattr(score, metric), ".1f") for metric in _METRICS]
        lines.append(f"| {score.part} | {_number(score.photos, 'd')} | {' | '.join(values)} |")
    lines += [
        "",
        f"Captions have {_number(whole.mean_length, '.1f')} words on average;"
        f" {_number(whole.distinct_captions, '.0%')} of them are distinct, with"
        f" {_number(whole.distinct_words, 'd')} different words.",
        "",
    ]
    return lines


def _caution(scores: tuple[ScoreInfo, ...]) -> str:
    """Return what to bear in mind about the photos that were scored."""
    if scores[0].limited:
        photos = _number(scores[0].photos, ",d")
        return f"Only the first {photos} photos of the split were scored: a quick look."
    if len(scores) > 1:
        return "The checkpoint was chosen on the first half of dev."
    return "The checkpoint may have been chosen on these photos."


def _confidence(calibration: Calibration | None) -> list[str]:
    if calibration is None or calibration.dev_second_half is None:
        return []
    check = calibration.dev_second_half
    lines = [
        "## Confidence",
        "",
        f"The probability that a caption is good: {calibration.measure}. Fitted on the first half"
        f" of dev. On the second half ({check.photos} photos, {check.good:.0%} good) the"
        f" expected calibration error is {check.expected_calibration_error:.3f}.",
        "",
        "| confidence | share of good captions | photos |",
        "|---|---|---|",
    ]
    lines += [f"| {b.confidence:.2f} | {b.good:.2f} | {b.count} |" for b in check.reliability]
    return [*lines, ""]


def _keywords(calibration: KeywordCalibration | None) -> list[str]:
    if calibration is None:
        return []
    lines = [
        "## Keywords",
        "",
        f"{len(calibration.words)} nouns, each with the probability that {calibration.measure}.",
        "",
    ]
    if calibration.checks:
        lines += [
            f"Keywords with a probability above {SURE}, of photos that they were not fitted on."
            " A keyword is right if one of the photo's captions names it.",
            "",
            "| dev photos of | photos | keywords a photo | share of right | calibration error |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {c.dataset} | {c.photos} | {c.per_photo:.2f} | {c.right:.0%}"
            f" | {c.expected_calibration_error:.3f} |"
            for c in calibration.checks
        ]
        lines.append("")
    return lines


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
