"""Pulling a model from a real server: whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from showtell.bundle import CARD, DECODER_STEP, ENCODER, MANIFEST, VOCABULARY, load_bundle
from showtell.bundle import bundle as bundle_module
from showtell.bundle.pull import pull_model
from showtell.bundle.registry import find_bundle, installed_models, origin
from showtell.errors import BundleError
from showtell.files.archives import ArchiveError
from showtell.files.download import DownloadError
from showtell.files.folders import cache_dir, pulled_models_dir
from showtell.vocabulary import Vocabulary
from support.archive_files import make_tar, make_zip
from support.dummy_bundles import bundle_files, write_dummy_bundle
from support.file_server import FileServer, serve
from support.tiny_bundles import tiny_networks

QUICK = {"timeout": 60, "pause": 0.01, "progress": False}
HUB = "/someone/birds/resolve/main/"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOWTELL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    return bundle_files(write_dummy_bundle(tmp_path / "made" / "birds", size=60_000))


@pytest.fixture
def server(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server that is a hub, too, with the bundle as the repository someone/birds."""
    with serve({HUB + name: content for name, content in files.items()}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url + "/")
        yield running


def add_archive(server: FileServer, path: Path) -> str:
    server.files[f"/{path.name}"] = path.read_bytes()
    return f"{server.url}/{path.name}"


def nothing_is_left(cache: Path) -> bool:
    return [path for path in cache.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("folder", ["", "birds-1.0/"])
@pytest.mark.parametrize(("make", "ending"), [(make_tar, "tar.gz"), (make_zip, "zip")])
def test_archive_becomes_a_model_that_is_found_by_name(
    server: FileServer, files: dict[str, bytes], tmp_path: Path, make, ending: str, folder: str
) -> None:
    packed = {folder + name: content for name, content in files.items()}
    url = add_archive(server, make(tmp_path / f"birds.{ending}", packed))
    model = pull_model(url, **QUICK)
    assert (model.name, model.shipped) == ("birds", False)
    assert find_bundle("birds") == model.path == pulled_models_dir() / "birds"
    assert load_bundle(model.path).manifest.name == "dummy"
    assert origin(model) == url
    assert not (cache_dir() / "downloads").exists() or not any(
        (cache_dir() / "downloads").iterdir()
    )
    assert [path.name for path in pulled_models_dir().iterdir()] == ["birds"]


def test_what_the_manifest_does_not_list_stays_out(
    server: FileServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    url = add_archive(server, make_zip(tmp_path / "b.zip", files | {"setup.py": b"evil()"}))
    assert not (pull_model(url, **QUICK).path / "setup.py").exists()


def test_local_archive_is_pulled_without_a_server(files: dict[str, bytes], tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "birds.tgz", files)
    right = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert pull_model(str(archive), name="tits", sha256=right).name == "tits"
    with pytest.raises(DownloadError, match="wrong bytes"):
        pull_model(str(archive), sha256="0" * 64)
    assert archive.exists()


def test_pulled_model_gets_a_copy_of_the_encoder_that_it_shares(
    server: FileServer, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "shipped" / "dogs", files)
    monkeypatch.setattr(bundle_module, "shipped_models_dir", lambda: tmp_path / "shipped")
    manifest = json.loads(files[MANIFEST])
    manifest["encoder"]["shared_with"] = "dogs"
    packed = files | {MANIFEST: json.dumps(manifest).encode()}
    del packed[ENCODER]
    model = pull_model(add_archive(server, make_zip(tmp_path / "birds.zip", packed)), **QUICK)
    assert (model.path / ENCODER).read_bytes() == files[ENCODER]


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_hub_repository_is_pulled_manifest_first(
    server: FileServer, files: dict[str, bytes]
) -> None:
    model = pull_model("hf:someone/birds", **QUICK)
    assert server.requests[0] == (HUB + MANIFEST, None)
    assert {path for path, _ in server.requests} == {HUB + name for name in files}
    assert bundle_files(model.path) == files
    assert origin(model) == "hf:someone/birds"


def test_revision_of_a_repository_is_asked_for(server: FileServer, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        server.files[f"/someone/birds/resolve/v1/{name}"] = content
    pull_model("hf:someone/birds@v1", **QUICK)
    assert all("/resolve/v1/" in path for path, _ in server.requests)


def test_hub_pull_survives_stalls_cuts_and_busy_answers(
    server: FileServer, files: dict[str, bytes]
) -> None:
    server.faults[HUB + ENCODER] = [("cut", 20_000), ("stall", 10_000), ("status", 503)]
    server.faults[HUB + MANIFEST] = [("cut", 100)]
    assert bundle_files(pull_model("hf:someone/birds", **QUICK | {"timeout": 1}).path) == files
    ranges = [wanted for path, wanted in server.requests if path == HUB + ENCODER]
    assert ranges == [None, "bytes=20000-", "bytes=30000-", "bytes=30000-"]


def test_broken_off_pull_is_gone_on_with_by_the_next(server: FileServer) -> None:
    server.faults[HUB + ENCODER] = [("cut", 20_000)] + [("status", 500)] * 9
    with pytest.raises(DownloadError, match="given up"):
        pull_model("hf:someone/birds", **QUICK)
    assert installed_models() == [] or all(model.shipped for model in installed_models())
    server.faults.clear()
    done = {path for path, _ in server.requests} - {HUB + ENCODER, HUB + MANIFEST}
    server.requests.clear()
    pull_model("hf:someone/birds", **QUICK)
    assert (HUB + ENCODER, "bytes=20000-") in server.requests
    assert done
    assert not done & {path for path, _ in server.requests}, "a file that was here came again"


def test_wrong_bytes_from_the_hub_are_never_installed(server: FileServer) -> None:
    server.files[HUB + DECODER_STEP] = b"other bytes"
    with pytest.raises(DownloadError, match=rf"{DECODER_STEP}: wrong bytes"):
        pull_model("hf:someone/birds", **QUICK)
    with pytest.raises(BundleError):
        find_bundle("birds")


def test_manifest_of_another_hash_than_asked_for_is_refused(
    server: FileServer, files: dict[str, bytes]
) -> None:
    with pytest.raises(DownloadError, match=r"manifest\.json: wrong bytes"):
        pull_model("hf:someone/birds", sha256="0" * 64, **QUICK)
    right = hashlib.sha256(files[MANIFEST]).hexdigest()
    assert pull_model("hf:someone/birds", sha256=right, **QUICK).name == "birds"


@pytest.mark.parametrize("bad", ["../../evil", "/etc/evil", "a/b", "..", ".hidden", ""])
def test_file_names_of_a_manifest_stay_in_the_folder(
    server: FileServer, files: dict[str, bytes], cache: Path, bad: str
) -> None:
    manifest = json.loads(files[MANIFEST])
    manifest["files"][bad] = "0" * 64
    server.files[HUB + MANIFEST] = json.dumps(manifest).encode()
    with pytest.raises(BundleError, match="not a plain file name"):
        pull_model("hf:someone/birds", **QUICK)
    assert [path for path, _ in server.requests] == [HUB + MANIFEST]
    assert nothing_is_left(cache)


@pytest.mark.parametrize(
    "manifest", [b"<html>", b"{}", b"[]", b'"x"', b"\xff\xfe", b'{"format_version": 1}']
)
def test_manifest_that_is_none_is_named(server: FileServer, cache: Path, manifest: bytes) -> None:
    server.files[HUB + MANIFEST] = manifest
    with pytest.raises(BundleError, match=r"resolve/main/manifest\.json"):
        pull_model("hf:someone/birds", **QUICK)
    assert nothing_is_left(cache)


def test_newer_format_is_refused_by_name(server: FileServer, files: dict[str, bytes]) -> None:
    newer = json.loads(files[MANIFEST]) | {"format_version": 99}
    server.files[HUB + MANIFEST] = json.dumps(newer).encode()
    with pytest.raises(BundleError, match="format 99 is newer"):
        pull_model("hf:someone/birds", **QUICK)


def test_missing_repository_is_named(server: FileServer) -> None:
    with pytest.raises(DownloadError, match=r"/no/body/resolve/main/manifest\.json: HTTP 404"):
        pull_model("hf:no/body", **QUICK)


def test_archive_with_a_changed_byte_is_refused_by_the_files_name(
    server: FileServer, files: dict[str, bytes], tmp_path: Path, cache: Path
) -> None:
    files[ENCODER] = b"!" + files[ENCODER][1:]
    url = add_archive(server, make_zip(tmp_path / "birds.zip", files))
    with pytest.raises(BundleError, match=rf"birds\.zip: {ENCODER}: changed"):
        pull_model(url, **QUICK)
    assert nothing_is_left(cache)


def test_archive_without_a_file_is_refused_by_the_files_name(
    server: FileServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    del files[CARD]
    url = add_archive(server, make_zip(tmp_path / "birds.zip", files))
    with pytest.raises(BundleError, match=rf"{CARD}: missing"):
        pull_model(url, **QUICK)


def test_archive_of_something_else_is_refused(
    server: FileServer, tmp_path: Path, cache: Path
) -> None:
    url = add_archive(server, make_zip(tmp_path / "photos.zip", {"a.jpg": b"", "b.jpg": b""}))
    with pytest.raises(BundleError, match=r"photos\.zip: holds no manifest\.json"):
        pull_model(url, **QUICK)
    server.files["/page.zip"] = b"<html>sign in</html>"
    with pytest.raises(ArchiveError):
        pull_model(f"{server.url}/page.zip", **QUICK)
    assert nothing_is_left(cache)


def test_archive_of_another_hash_than_asked_for_is_refused(
    server: FileServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    url = add_archive(server, make_zip(tmp_path / "birds.zip", files))
    with pytest.raises(DownloadError, match="wrong bytes"):
        pull_model(url, sha256="0" * 64, **QUICK)


def test_name_that_is_taken_is_refused_before_anything_is_fetched(server: FileServer) -> None:
    pull_model("hf:someone/birds", **QUICK)
    server.requests.clear()
    with pytest.raises(BundleError, match="birds: already installed: showtell models remove birds"):
        pull_model("hf:someone/birds", **QUICK)
    assert server.requests == []
    assert pull_model("hf:someone/birds", name="more-birds", **QUICK).name == "more-birds"


@pytest.mark.parametrize(
    ("source", "name"),
    [("http://host/", None), ("http://host/.zip", None), ("hf:a/b", "../x"), ("hf:a/b", "a b")],
)
def test_name_that_cannot_be_one_is_refused(source: str, name: str | None) -> None:
    with pytest.raises(BundleError, match="cannot be a model's name"):
        pull_model(source, name=name)


@pytest.mark.parametrize("source", ["hf:", "hf:owner", "hf:a/b/c", "hf:a/b@", "hf:/b"])
def test_malformed_repository_is_refused(source: str) -> None:
    with pytest.raises(BundleError, match="not hf:owner/repository"):
        pull_model(source)


def test_source_that_is_nothing_says_what_there_could_be(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"neither an archive nor an address"):
        pull_model(str(tmp_path / "gone.zip"))


def with_hashes(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return a bundle's files with their own hashes in the manifest."""
    manifest = json.loads(files[MANIFEST])
    manifest["files"] = {
        name: hashlib.sha256(files[name]).hexdigest() for name in manifest["files"]
    }
    return files | {MANIFEST: json.dumps(manifest).encode()}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (ENCODER, b"no network", rf"birds\.zip: {ENCODER}: not an ONNX file"),
        (DECODER_STEP, b"", rf"birds\.zip: {DECODER_STEP}: ONNX Runtime cannot load it"),
        (CARD, b"\xff", rf"birds\.zip: {CARD}: not UTF-8 text"),
        (CARD, b"a" * 2_000_000, rf"birds\.zip: {CARD}: larger than"),
        (VOCABULARY, b'{"words": ["\xff"]}', rf"birds\.zip: {VOCABULARY}: not UTF-8 text"),
        (
            VOCABULARY,
            Vocabulary.build(["a dog"]).to_json().encode(),
            rf"birds\.zip: {DECODER_STEP}: does not fit its manifest and vocabulary",
        ),
    ],
)
def test_model_that_cannot_caption_is_not_installed(
    server: FileServer,
    files: dict[str, bytes],
    tmp_path: Path,
    cache: Path,
    name: str,
    content: bytes,
    message: str,
) -> None:
    url = add_archive(
        server, make_zip(tmp_path / "birds.zip", with_hashes(files | {name: content}))
    )
    with pytest.raises(BundleError, match=message):
        pull_model(url, **QUICK)
    assert nothing_is_left(cache)


def test_unlisted_file_beside_a_network_is_neither_installed_nor_read(
    server: FileServer, files: dict[str, bytes], tmp_path: Path, cache: Path
) -> None:
    model = tiny_networks()[ENCODER]
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="beside.bin")
    files = with_hashes(files | {ENCODER: model.SerializeToString()}) | {"beside.bin": bytes(99)}
    url = add_archive(server, make_zip(tmp_path / "birds.zip", files))
    with pytest.raises(BundleError, match=rf"{ENCODER}: .*external data"):
        pull_model(url, **QUICK)
    assert nothing_is_left(cache)
