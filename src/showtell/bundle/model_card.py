"""A model's card: what it was trained on, how good it is, what it may be used for."""

from __future__ import annotations

from typing import Any

from showtell.bundle import Manifest
from showtell.decoding.options import DecodingDefaults
from showtell.vocabulary import SPECIAL_WORDS, Vocabulary

TERMS = {
    "Flickr8k": "Trained on Flickr8k (Hodosh, Young and Hockenmaier, 2013), which is for research"
    " and education; its photos belong to their photographers.",
    "Flickr30k": "Trained on Flickr30k (Young, Lai, Hodosh and Hockenmaier, 2014), which is for"
    " research and education; its photos belong to their photographers.",
    "COCO": "Trained on COCO (Lin et al., 2014; Chen et al., 2015), whose captions are under"
    " CC BY 4.0; its photos are under Flickr's terms and belong to their photographers.",
}


def terms_of(layout: str) -> str:
    """Return the terms that a dataset lays on a model trained on it, as far as they are known."""
    known = next((terms for name, terms in TERMS.items() if name in layout), None)
    return known or "The terms are those of the photos and captions it was trained on."


def model_card(manifest: Manifest, vocabulary: Vocabulary, notes: str = "") -> str:
    """Write the card, Markdown; `notes` is what a person found out (limits, bias)."""
    training, encoder = manifest.training, manifest.encoder
    photos = training.get("photos", {})
    seen = photos.get("train", {})
    recipe = training.get("recipe", {})
    decoder = recipe.get("decoder", {})
    tuned = encoder.get("fine_tuned") or ["none"]
    lines = [
        f"# {manifest.name}",
        "",
        "Writes one English sentence for a photo. " + manifest.terms,
        "",
        "## What it is",
        "",
        f"- Encoder: {encoder['network']}, {encoder['channels']} channels on a grid of"
        f" {encoder['grid'][0]} x {encoder['grid'][1]}; started from: {encoder['weights']};"
        f" trained here: {', '.join(tuned)}",
        f"- Decoder: {_members(decoder)}{manifest.decoder['kind']},"
        f" LSTM of {decoder.get('hidden', '?')}, {len(vocabulary) - len(SPECIAL_WORDS)} words",
        f"- Photos: {manifest.preprocessing.height} x {manifest.preprocessing.width} pixels,"
        f" {manifest.preprocessing.resize}",
        f"- Decoding: {_decoding(manifest.decoding)}",
        "- Precision: " + ", ".join(f"{part} {p}" for part, p in manifest.precision.items()),
        f"- Trained on: {training.get('dataset', '?')}, {seen.get('count', '?')} photos with"
        f" {seen.get('captions', '?')} captions, {training.get('seconds', 0) / 60:.0f} minutes",
        f"- Written by: {manifest.written_by}",
        "",
        *_scores(manifest.scores),
        *_confidence(manifest.confidence),
        "## Good at, bad at",
        "",
        notes.strip()
        or "It describes what its training photos show. Elsewhere it says the nearest thing that it"
        " knows, and sounds as sure: look at `confidence`, and at the photo.",
        "",
        "## Terms",
        "",
        manifest.terms + " showtell's code is Apache-2.0; that licence does not cover this model's"
        " training data.",
        "",
    ]
    return "\n".join(lines)


def _decoding(decoding: DecodingDefaults) -> str:
    repeats = f", no {decoding.no_repeat_ngram} words in a row twice"
    return (
        f"beam {decoding.beam}, length penalty {decoding.length_penalty:g}, at most"
        f" {decoding.max_length} tokens" + (repeats if decoding.no_repeat_ngram else "")
    )


def _members(decoder: dict[str, Any]) -> str:
    members, evidence = decoder.get("members", 1), decoder.get("concept_weight", 0.0)
    seen = f"in the light of the words seen in the photo (weight {evidence:g}), "
    return (seen if evidence else "") + (f"an ensemble of {members}, each " if members > 1 else "")


def _scores(scores: list[dict[str, Any]]) -> list[str]:
    if not scores:
        return []
    keys = {
        "bleu_1": "BLEU-1",
        "bleu_2": "BLEU-2",
        "bleu_3": "BLEU-3",
        "bleu_4": "BLEU-4",
        "meteor": "METEOR",
        "rouge_l": "ROUGE-L",
        "cider": "CIDEr",
    }
    first = scores[0]
    penalty = first.get("length_penalty")  # older manifests do not have it
    decoding = f"beam {first['beam']}" + (
        "" if penalty is None else f", length penalty {penalty:g}"
    )
    lines = [
        "## Scores",
        "",
        f"Split {first['split']}, {decoding}, scorer {first['scorer']}, as shipped."
        " The model was chosen on the first half of dev.",
        "",
        "| part | photos | " + " | ".join(keys.values()) + " |",
        "|---|---|" + "---|" * len(keys),
    ]
    for part in scores:
        values = [f"{part[k]:.1f}" if part.get(k) is not None else "-" for k in keys]
        lines.append(f"| {part['part']} | {part['photos']} | " + " | ".join(values) + " |")
    lines += [
        "",
        f"Captions have {first['mean_length']:.1f} words on average;"
        f" {100 * first['distinct_captions']:.0f} % of them are distinct, with"
        f" {first['distinct_words']} different words.",
        "",
    ]
    return lines


def _confidence(confidence: dict[str, Any] | None) -> list[str]:
    if not confidence or "dev_second_half" not in confidence:
        return []
    held = confidence["dev_second_half"]
    lines = [
        "## Confidence",
        "",
        f"The chance that a caption is good: {confidence['measure']}. Fitted on the first half of"
        f" dev; on the second half ({held['photos']} photos, {100 * held['good']:.0f} % good) the"
        f" expected calibration error is {held['expected_calibration_error']:.3f}.",
        "",
        "| confidence said | share that is good | photos |",
        "|---|---|---|",
    ]
    lines += [
        f"| {b['confidence']:.2f} | {b['good']:.2f} | {b['count']} |" for b in held["reliability"]
    ]
    return [*lines, ""]
