"""Shards at addresses: fsspec's memory, a local HTTP server; what is said where they cannot be."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from showtell.data import open_dataset
from showtell.data.check import check_dataset
from showtell.data.dataset import Dataset
from showtell.data.feature_cache import extract_features
from showtell.data.shards.address import parse_address
from showtell.data.shards.index import ShardError
from showtell.data.shards.order import STRETCH, WINDOW, local_order
from showtell.data.shards.webdataset import iterate_shard, list_shards
from showtell.data.shards.write import write_shards
from showtell.data.synthetic.shapes import draw_shapes
from showtell.errors import DatasetError, MissingExtraError, PhotoError
from showtell.files import remote
from showtell.files.remote import UnreadableFileError
from showtell.image import Preprocessing, open_photo
from support.file_server import FileServer
from support.shard_folders import in_memory, made_dataset, over_http


@pytest.fixture(autouse=True)
def _short_pauses_and_no_blocks_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of tests may have the port that another had, and so its addresses."""
    remote._block.cache_clear()
    monkeypatch.setattr(remote, "RETRY_DELAYS", (0.01, 0.02))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """Drawn photos, loose and in shards of ten."""
    folder = tmp_path_factory.mktemp("shapes")
    loose = draw_shapes(folder / "loose", 40, size=32)
    write_shards(loose, folder / "shards", photos_per_shard=10)
    return loose, folder / "shards"


@pytest.fixture
def server(shapes: tuple[Dataset, Path]) -> Iterator[FileServer]:
    with over_http(shapes[1]) as running:
        yield running


@pytest.fixture(params=["memory", "http", "http without ranges"])
def address(
    request: pytest.FixtureRequest,
    shapes: tuple[Dataset, Path],
    server: FileServer,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.setattr(remote, "BLOCK", 4096)  # of shards of 10 to 20 kB
    if request.param == "memory":
        return in_memory(shapes[1])
    server.ignores_range = request.param == "http without ranges"
    return f"{server.url}/set"


def test_a_remote_dataset_equals_the_one_on_disk(
    address: str, shapes: tuple[Dataset, Path]
) -> None:
    loose, _ = shapes
    far = open_dataset(address)
    for split in ("train", "dev", "test"):
        assert [(p.name, p.captions, p.path.read_bytes()) for p in far.split(split)] == [
            (p.name, p.captions, p.path.read_bytes()) for p in loose.split(split)
        ]
    assert open_photo(far.photos[0].path).size == (32, 32)
    assert open_dataset(f"{address}/index.json").root == open_dataset(f"{address}/").root == address


def test_a_remote_dataset_has_the_report_of_the_one_on_disk(
    address: str, shapes: tuple[Dataset, Path]
) -> None:
    far, loose = check_dataset(address), check_dataset(shapes[0].root)
    assert (far.photos, far.captions, far.splits, far.words) == (
        loose.photos,
        loose.captions,
        loose.splits,
        loose.words,
    )
    assert far.ok


def test_remote_shards_are_listed_and_read(address: str, shapes: tuple[Dataset, Path]) -> None:
    found = [pair for shard in list_shards(address) for pair in iterate_shard(shard)]
    assert found == [(photo.name, photo.path.read_bytes()) for photo in shapes[0].photos]


def test_features_from_shards_equal_those_of_the_photos_and_are_cached(
    address: str, shapes: tuple[Dataset, Path], tmp_path: Path
) -> None:
    runs: list[int] = []

    def encode(pixels: np.ndarray) -> dict[str, np.ndarray]:
        runs.append(len(pixels))
        return {"pooled": pixels.mean((2, 3))}

    small = Preprocessing(height=8, width=8)

    def features(dataset: Dataset) -> np.ndarray:
        photos = dataset.split("train")
        made = extract_features(photos, encode, "mean", {"pooled": (3,)}, small, tmp_path)
        assert not made.bad
        return np.asarray(made.arrays["pooled"])

    loose = features(shapes[0])
    far = features(open_dataset(address))
    assert np.array_equal(loose, far)
    assert sum(runs) == 2 * len(loose)
    # on disk they are the same photos by checksum, wherever their shards lie
    assert np.array_equal(features(open_dataset(shapes[1])), far)
    assert sum(runs) == 2 * len(loose)


def test_a_truncated_remote_shard_is_named(server: FileServer) -> None:
    address = f"{server.url}/set"
    name = "dev-000000.tar"
    last = open_dataset(address).split("dev")[-1].path
    server.files[f"/set/{name}"] = server.files[f"/set/{name}"][:3000]
    with pytest.raises(PhotoError, match=r"^cut off: it ends before byte"):
        last.read_bytes()
    with pytest.raises(ShardError, match=rf"{name}: cut off: 3,000 bytes, not 10,240"):
        open_dataset(address)
    left = open_dataset(address, on_broken="skip")
    assert not left.split("dev")
    assert left.split("train")


def test_a_shard_is_named_if_the_connection_breaks(server: FileServer) -> None:
    name = "dev-000000.tar"
    server.faults[f"/set/{name}"] = [("cut", 3000)] * 2  # HEAD, then GET
    with pytest.raises(ShardError, match=rf"{name}: "):
        list(iterate_shard(f"{server.url}/set/{name}"))
    server.faults.clear()
    # Only the connection was at fault.
    assert len(list(iterate_shard(f"{server.url}/set/{name}"))) == 4


def test_large_photos_are_read_from_a_server_without_range_requests(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path / "loose", {"dev": 4})
    for photo in dataset.photos:
        with photo.path.open("r+b") as file:
            file.truncate(2_500_000)
    write_shards(dataset, tmp_path / "shards")
    with over_http(tmp_path / "shards") as server:
        server.ignores_range = True
        remote = open_dataset(f"{server.url}/set").photos
        for photo, original in zip(remote, dataset.photos, strict=True):
            assert photo.path.read_bytes() == original.path.read_bytes()
        report = check_dataset(f"{server.url}/set")
    assert report.findings[0].kind == "unreadable"  # the bytes are not images


def test_a_shard_missing_on_the_server_is_named(server: FileServer) -> None:
    name = "train-000000.tar"
    first = open_dataset(f"{server.url}/set").split("train")[0].path
    del server.files[f"/set/{name}"]
    with pytest.raises(PhotoError, match=r"^no such file"):
        first.read_bytes()
    with pytest.raises(ShardError, match=rf"{name}: no such file"):
        list(iterate_shard(f"{server.url}/set/{name}"))
    with pytest.raises(ShardError, match=rf"{name}: no such file"):
        open_dataset(f"{server.url}/set")


def test_a_failed_request_for_a_photo_is_repeated(server: FileServer) -> None:
    photo = open_dataset(f"{server.url}/set").split("dev")[0].path
    name = str(photo).removeprefix(server.url).partition(".tar")[0] + ".tar"
    server.faults[name] = [("status", 503), ("cut", 100)]
    assert photo.read_bytes()
    assert not server.faults[name]


def test_a_server_error_is_reported_on_one_line(server: FileServer) -> None:
    server.faults["/set/index.json"] = [("status", 500)] * 20
    with pytest.raises(
        UnreadableFileError, match=r"/set/index.json: cannot be read \(500"
    ) as error:
        open_dataset(f"{server.url}/set")
    assert "\n" not in str(error.value)


def test_a_missing_server_is_reported_on_one_line(server: FileServer) -> None:
    with pytest.raises(UnreadableFileError, match=r"index.json: cannot be read \(") as error:
        open_dataset("http://127.0.0.1:9/set")
    assert "\n" not in str(error.value)


def test_an_unknown_protocol_is_an_error_with_a_hint() -> None:
    with pytest.raises(DatasetError, match="Protocol not known: nowhere: give a folder or"):
        open_dataset("nowhere://set")
    with pytest.raises(DatasetError, match="no such file"):
        open_dataset("memory://nothing-was-put-here")


def test_without_fsspec_shards_on_disk_are_read_and_addresses_name_the_extra(
    shapes: tuple[Dataset, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "fsspec"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"the extra 'train': pip install"):
        open_dataset("s3://bucket/set")
    on_disk = open_dataset(shapes[1])
    assert len(on_disk.split("train")) == 32
    assert open_photo(on_disk.photos[0].path).size == (32, 32)


def test_shards_on_disk_need_only_the_light_install() -> None:
    script = (
        "import sys; import showtell.data, showtell.data.shards.webdataset,"
        " showtell.data.shards.write\n"
        "print({'torch', 'fsspec', 'aiohttp'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_paths_become_paths_and_addresses_keep_their_slashes() -> None:
    assert parse_address("a/b/index.json") == parse_address(Path("a/b")) == Path("a/b")
    assert parse_address("s3://b/x/index.json") == parse_address("s3://b/x/") == "s3://b/x"


def test_an_epoch_in_local_order_fetches_each_block_about_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "BLOCK", 1 << 15)  # of which 32 are kept
    dataset = made_dataset(tmp_path / "loose", {"train": 1500})
    index = write_shards(dataset, tmp_path / "shards")
    with over_http(tmp_path / "shards") as server:
        photos = open_dataset(f"{server.url}/set").split("train")
        order = local_order(photos, np.random.default_rng(0))
        assert order is not None
        server.requests.clear()
        for row in order:
            assert photos[row].path.read_bytes()
        fetched = Counter(server.requests)
    blocks = sum(-(-shard.bytes // (1 << 15)) for shard in index.shards)
    assert blocks - 3 <= len(fetched) <= blocks  # the ends of shards hold nothing
    assert sum(fetched.values()) < 3.5 * blocks


def test_a_local_order_is_a_seeded_permutation_of_nearby_photos(
    tmp_path: Path,
) -> None:
    dataset = made_dataset(tmp_path / "loose", {"train": 1100})
    assert local_order(dataset.photos, np.random.default_rng(0)) is None
    write_shards(dataset, tmp_path / "shards")
    on_disk = open_dataset(tmp_path / "shards").photos
    assert local_order(on_disk, np.random.default_rng(0)) is None
    photos = open_dataset(in_memory(tmp_path / "shards")).photos
    order = local_order(photos, np.random.default_rng(0))
    again, other = (local_order(photos, np.random.default_rng(seed)) for seed in (0, 1))
    assert order is not None
    assert sorted(order) == list(range(1100))
    assert np.array_equal(order, again)
    assert not np.array_equal(order, other)
    for start in range(0, 1100, WINDOW):
        assert len({row // STRETCH for row in order[start : start + WINDOW].tolist()}) <= 10
