"""The datasets of `showtell data download`: archives, addresses, hashes and terms of use.

Hashes are those that other projects published for the same archives; a comment names the project.
Some sizes are rounded: they are for the question before the download, and the hash decides whether
the bytes are right.
"""

from __future__ import annotations

from dataclasses import dataclass

_FLICKR = (
    "The photos are from Flickr: they belong to their photographers and are under Flickr's terms of"
    " use (flickr.com/help/terms)"
)
_NON_COMMERCIAL = f"For non-commercial research and education only. {_FLICKR}."


_HUB = "https://huggingface.co/datasets"


@dataclass(frozen=True)
class Archive:
    """One archive of a dataset, and the files that are unpacked from it.

    Files whose names match the regular expression `file_pattern` are unpacked into `folder`,
    whatever folders the archive has. `bytes` and `unpacked` are sizes in bytes, rounded or exact.
    An archive without `urls` is available on request only.
    """

    name: str
    urls: tuple[str, ...]
    bytes: int
    unpacked: int
    file_pattern: str
    folder: str
    sha256: str | None = None
    md5: str | None = None
    max_files: int = 100_000


@dataclass(frozen=True)
class DatasetSource:
    """A dataset that can be downloaded."""

    name: str
    title: str
    contents: str
    terms: str
    paper: str
    archives: tuple[Archive, ...]
    on_request: str = ""  # how to get the archives without an address


def _karpathy(dataset: str) -> Archive:
    """Captions and splits of Karpathy and Fei-Fei (2015), which papers report on."""
    # sha256 and size as in several independent projects that fetch it.
    return Archive(
        "caption_datasets.zip",
        (
            "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
            f"{_HUB}/gpantaz/karpathy_split/resolve/main/caption_datasets.zip",
        ),
        bytes=36_745_453,
        unpacked={"coco": 144_186_139, "flickr30k": 38_318_553}[dataset],
        file_pattern=rf"dataset_{dataset}\.json",
        folder=".",
        sha256="4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817",
    )


# Jason Brownlee hosts the authors' two archives, whose own address no longer works. The md5s are
# those of torchvision for R (flickr8k_caption_dataset) and of an independent CMake script.
_BROWNLEE = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"
_ILLINOIS = "http://nlp.cs.illinois.edu/HockenmaierGroup/Framing_Image_Description"

FLICKR8K = DatasetSource(
    "flickr8k",
    "Flickr8k",
    "8,091 photos, five captions each; 6,000 to train, 1,000 dev, 1,000 test",
    _NON_COMMERCIAL,
    "Hodosh, Young and Hockenmaier: Framing Image Description as a Ranking Task, 2013",
    (
        Archive(
            "Flickr8k_text.zip",
            (f"{_BROWNLEE}/Flickr8k_text.zip", f"{_ILLINOIS}/Flickr8k_text.zip"),
            bytes=2_300_000,
            unpacked=15_000_000,
            file_pattern=r".*\.txt",
            folder="Flickr8k_text",
            md5="bf6c1abcb8e4a833b7f922104de18627",
        ),
        Archive(
            "Flickr8k_Dataset.zip",
            (f"{_BROWNLEE}/Flickr8k_Dataset.zip", f"{_ILLINOIS}/Flickr8k_Dataset.zip"),
            bytes=1_115_000_000,
            unpacked=1_120_000_000,
            file_pattern=r".*\.jpg",
            folder="Flicker8k_Dataset",
            md5="f18a1e2920de5bd84dae7cf08ec78978",
        ),
    ),
)

FLICKR30K = DatasetSource(
    "flickr30k",
    "Flickr30k",
    "31,014 photos, five captions each; 29,000 to train, 1,014 dev, 1,000 test (Karpathy's)",
    _NON_COMMERCIAL,
    "Young, Lai, Hodosh and Hockenmaier: From Image Descriptions to Visual Denotations, 2014",
    (
        _karpathy("flickr30k"),
        Archive(
            "flickr30k-images.tar.gz",
            (),
            bytes=4_400_000_000,
            unpacked=4_400_000_000,
            file_pattern=r".*\.jpg",
            folder="flickr30k-images",
        ),
    ),
    "The authors provide the photos on request: fill in the form at"
    " https://shannon.cs.illinois.edu/DenotationGraph/ and fetch flickr30k-images.tar.gz. Then run"
    " showtell data download flickr30k DIR --from flickr30k-images.tar.gz (--from also accepts the"
    " link that they send, or Kaggle's flickr-image-dataset as a zip)",
)

# Amazon's name of the bucket supports https; the site's own name supports http only. sha256 as in
# torchvision's prototype datasets and, for the photos, ParlAI.
_COCO = ("https://s3.amazonaws.com/images.cocodataset.org", "http://images.cocodataset.org")
_COCO_MIRROR = f"{_HUB}/pcuenq/coco-2017-mirror/resolve/main"


def _coco(folder: str, name: str) -> tuple[str, ...]:
    return (*(f"{site}/{folder}/{name}" for site in _COCO), f"{_COCO_MIRROR}/{name}")


COCO = DatasetSource(
    "coco",
    "COCO 2017 with Karpathy's splits",
    "123,287 photos, five captions each; 113,287 to train, 5,000 dev, 5,000 test (Karpathy's)",
    f"The captions are under CC BY 4.0. {_FLICKR}.",
    "Lin et al.: Microsoft COCO, 2014; Chen et al.: Microsoft COCO Captions, 2015",
    (
        _karpathy("coco"),
        Archive(
            "annotations_trainval2017.zip",
            _coco("annotations", "annotations_trainval2017.zip"),
            bytes=252_907_541,
            unpacked=97_000_000,
            file_pattern=r"captions_(train|val)2017\.json",
            folder="annotations",
            sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
        ),
        Archive(
            "val2017.zip",
            _coco("zips", "val2017.zip"),
            bytes=815_585_330,
            unpacked=816_000_000,
            file_pattern=r".*\.jpg",
            folder="val2017",
            sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
        ),
        Archive(
            "train2017.zip",
            _coco("zips", "train2017.zip"),
            bytes=19_336_861_798,
            unpacked=19_350_000_000,
            file_pattern=r".*\.jpg",
            folder="train2017",
            sha256="69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
            max_files=150_000,
        ),
    ),
)

SOURCES = {source.name: source for source in (FLICKR8K, FLICKR30K, COCO)}
