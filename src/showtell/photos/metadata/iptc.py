"""Read and set captions and keywords in a JPEG's IPTC, in Photoshop's image resources.

Setting them changes no other value, and no keyword that is there already: those keep their bytes,
or are converted if a new text needs the marker for UTF-8 and they are Latin-1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from showtell.errors import MetadataError
from showtell.photos.metadata.field_values import IPTC, IPTC_KEYWORDS, FieldValues
from showtell.photos.metadata.image_resources import (
    encode_resource,
    parse_resources,
    replace_bytes,
)
from showtell.photos.metadata.iptc_datasets import (
    CHARACTER_SET,
    ENVELOPE_VERSION,
    UTF8_MARKER,
    DataSet,
    convert_to_utf8,
    decode,
    is_text,
    marked_encoding,
    new_dataset,
    parse_datasets,
)

MAX_CAPTION_BYTES = 2000  # the longest Caption-Abstract (2:120) that IIM allows
MAX_KEYWORD_BYTES = 64  # the longest of the Keywords (2:25)
_DIGEST_RESOURCE = 0x0425
_RECORD_VERSION, _KEYWORDS, _CAPTION = (2, 0), (2, 25), (2, 120)
_DATASET_KEYS = {IPTC: _CAPTION, IPTC_KEYWORDS: _KEYWORDS}
_DATE_CREATED, _TIME_CREATED = (2, 55), (2, 60)
_DATE_SIZE = len("20230531")
_VERSION = b"\0\4"
_Texts = dict[tuple[int, int], tuple[str, ...]]  # by the key of their dataset


@dataclass(frozen=True, slots=True)
class Iptc:
    """A photo's caption in IPTC (may be empty) and keywords, and whether IPTC is present."""

    caption: str = ""
    present: bool = False
    keywords: tuple[str, ...] = ()


def read_iptc(resources: bytes) -> Iptc:
    """Read Photoshop's image resources, up to the first one that is damaged."""
    captions, keywords, present = list[str](), list[str](), False
    for resource in parse_resources(resources)[0]:
        if resource.is_iptc:
            present = True
            datasets = parse_datasets(resource.content(resources))[0]
            captions += _texts(datasets, _CAPTION)
            keywords += _keywords(datasets)
    texts = dict.fromkeys(caption for caption in captions if caption.strip())
    return Iptc("\n".join(texts), present, tuple(filter(None, keywords)))


def _texts(datasets: list[DataSet], key: tuple[int, int]) -> list[str]:
    """Return the values of the datasets that have a key."""
    encoding = marked_encoding(datasets)
    return [decode(dataset.value, encoding) for dataset in datasets if dataset.key == key]


def read_date_created(resources: bytes) -> str:
    """Return the date (2:55) and time (2:60) at which the content was made; empty if unknown.

    IIM writes an unknown month or day as zeros, which are left out.
    """
    values: dict[tuple[int, int], str] = {}
    for resource in parse_resources(resources)[0]:
        if resource.is_iptc:
            for dataset in parse_datasets(resource.content(resources))[0]:
                values.setdefault(dataset.key, dataset.value.decode("latin-1"))
    date, time = values.get(_DATE_CREATED, "").strip(), values.get(_TIME_CREATED, "").strip()
    if len(date) == _DATE_SIZE and date.endswith("00"):
        return date[:4] if date.endswith("0000") else f"{date[:4]}-{date[4:6]}"
    return f"{date} {time}".strip() if date else ""


def set_iptc(segments: Sequence[bytes], values: FieldValues) -> list[bytes]:
    """Return the contents of a JPEG's Photoshop segments with a caption and keywords in IPTC.

    Resources may continue in the next segment. The result has a content for each segment, which
    may be empty or too long for one; without a segment, it has one. All other resources stay
    byte for byte, and a checksum that Photoshop keeps of IPTC is updated if it was right.

    Raises MetadataError if the resources are damaged, or their characters cannot be kept.
    """
    texts = {
        _DATASET_KEYS[field]: value if isinstance(value, tuple) else (value,)
        for field, value in values.items()
    }
    data = b"".join(segments)
    resources, end = parse_resources(data)
    if data[end:].strip(b"\0"):
        raise MetadataError("its Photoshop resources are damaged")
    blocks = [resource for resource in resources if resource.is_iptc]
    parts = list(segments) or [b""]
    if not blocks:
        return replace_bytes(parts, end, end, encode_resource(_new_block(texts)))
    old_blocks = [resource.content(data) for resource in blocks]
    additions = _additions([parse_datasets(block)[0] for block in old_blocks], texts)
    new_blocks = [
        _set_in_block(block, texts, new) for block, new in zip(old_blocks, additions, strict=True)
    ]
    new_contents = {id(r): content for r, content in zip(blocks, new_blocks, strict=True)}
    for resource in resources:
        if resource.id == _DIGEST_RESOURCE and resource.content(data) == _digest(old_blocks[0]):
            new_contents[id(resource)] = _digest(new_blocks[0])
    for resource in reversed(resources):
        if id(resource) in new_contents:
            new = encode_resource(new_contents[id(resource)], resource)
            parts = replace_bytes(parts, resource.start, resource.end, new)
    return parts


def same_other_values(old: bytes, new: bytes, fields: Collection[str]) -> bool:
    """Return whether two image resources differ in nothing but some fields of IPTC.

    Texts are compared decoded. The character set and the checksum of IPTC are ignored, as they
    follow from the texts, and so are the version numbers of IPTC that is new.
    """
    ignored = {CHARACTER_SET, *(_DATASET_KEYS[field] for field in fields)}
    if not read_iptc(old).present:
        ignored |= {ENVELOPE_VERSION, _RECORD_VERSION}
    return _other_content(old, ignored) == _other_content(new, ignored)


def truncate_caption(text: str) -> str:
    """Shorten a text to what Caption-Abstract can hold, at a word boundary, ending in `…`."""
    data = text.encode()
    if len(data) <= MAX_CAPTION_BYTES:
        return text
    cut = data[: MAX_CAPTION_BYTES - 3].decode("utf-8", "ignore")
    return cut[: cut.rfind(" ") if " " in cut else len(cut)].rstrip() + "…"


def _other_content(
    resources: bytes, ignored: set[tuple[int, int]]
) -> list[tuple[object, str | bytes]]:
    content: list[tuple[object, str | bytes]] = []
    for resource in parse_resources(resources)[0]:
        data = resource.content(resources)
        if not resource.is_iptc:
            if resource.id != _DIGEST_RESOURCE:
                content.append(((resource.signature, resource.id, resource.name), data))
            continue
        datasets = parse_datasets(data)[0]
        encoding = marked_encoding(datasets)
        for dataset in datasets:
            if dataset.key not in ignored:
                value = dataset.value
                text = decode(value, encoding) if is_text(dataset) else value
                content.append((dataset.key, text))
    return content


def _keywords(datasets: list[DataSet]) -> list[str]:
    return [word.strip() for word in _texts(datasets, _KEYWORDS)]


def _additions(blocks: list[list[DataSet]], texts: _Texts) -> list[_Texts]:
    """Return the texts that each block takes: the first one the caption, the last one keywords.

    The last one is that of the blocks with keywords, so that new ones follow those.
    """
    additions: list[_Texts] = [dict.fromkeys(texts, ()) for _ in blocks]
    if _CAPTION in texts:
        additions[0][_CAPTION] = texts[_CAPTION]
    if _KEYWORDS in texts:
        present = [_keywords(block) for block in blocks]
        last = max((index for index, keywords in enumerate(present) if keywords), default=0)
        additions[last][_KEYWORDS] = tuple(
            word for word in texts[_KEYWORDS] if not any(word in keywords for keywords in present)
        )
    return additions


def _set_in_block(block: bytes, texts: _Texts, new_texts: _Texts) -> bytes:
    """Return an IPTC block with `new_texts`, and of old keywords only those among `texts`."""
    datasets, rest = parse_datasets(block)
    if rest.strip(b"\0"):
        raise MetadataError("its IPTC is damaged")
    encoding = marked_encoding(datasets) or "ascii"
    try:
        "".join(text for values in new_texts.values() for text in values).encode(encoding)
    except UnicodeEncodeError:
        datasets, encoding = convert_to_utf8(datasets), "utf-8"
    for key, values in new_texts.items():
        new = [new_dataset(key, value.encode(encoding)) for value in values]
        datasets = _replace_values(datasets, key, texts[key], new)
    return b"".join(dataset.encoded for dataset in datasets) + rest


def _replace_values(
    datasets: list[DataSet], key: tuple[int, int], kept: Collection[str], new: list[DataSet]
) -> list[DataSet]:
    """Return the datasets without the old values of a key, and with new ones in their place.

    Keywords among `kept`, and blank ones, stay. The first values of a key follow the other
    datasets of their record.
    """
    positions = [index for index, dataset in enumerate(datasets) if dataset.key == key]
    if positions:
        end = positions[-1] + 1
    else:
        end = max(
            (i + 1 for i, dataset in enumerate(datasets) if dataset.key[0] <= key[0]), default=0
        )
    encoding = marked_encoding(datasets)

    def stays(dataset: DataSet) -> bool:
        word = decode(dataset.value, encoding).strip()
        return dataset.key != key or (key == _KEYWORDS and (not word or word in kept))

    return [*filter(stays, datasets[:end]), *new, *datasets[end:]]


def _new_block(texts: _Texts) -> bytes:
    datasets = [
        new_dataset(key, value)
        for key, value in (
            (ENVELOPE_VERSION, _VERSION),
            (CHARACTER_SET, UTF8_MARKER),
            (_RECORD_VERSION, _VERSION),
        )
    ]
    datasets += [new_dataset(key, text.encode()) for key in sorted(texts) for text in texts[key]]
    return b"".join(dataset.encoded for dataset in datasets)


def _digest(block: bytes) -> bytes:
    return hashlib.md5(block, usedforsecurity=False).digest()
