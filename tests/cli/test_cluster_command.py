"""What `showtell cluster caption` refuses before Ray is started, each in one line."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from showtell.cli import main
from showtell.cluster import job, ray_cluster
from showtell.cluster.job import JobOptions, caption_all
from showtell.errors import ShowtellError
from support.photo_collections import model, photo, write_folder, write_parquet
from support.tiny_bundles import write_bundle


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["cluster", "caption", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return model(tmp_path / "model")


def test_a_cluster_that_is_not_there_is_one_line(
    tmp_path: Path, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:  # bound, and nobody listens
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        code, error = run(
            capsys,
            write_folder(tmp_path / "photos", 3),
            tmp_path / "out",
            "--model",
            tiny,
            "--address",
            address,
        )
    assert code == 1
    assert f"no Ray cluster at '{address}' (" in error
    assert "start one with ray start --head, or give --address local" in error


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object) -> None:
        raise AssertionError("Ray is started")

    monkeypatch.setattr(ray_cluster, "_init_ray", started)


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--limit", "5", "--sample", "0.1"], 2, "limit and sample exclude each other"),
        (["--beam", "2", "--nbest", "3"], 2, "nbest: 3 is more than beam=2 can find"),
        (["--strategy", "sample"], 2, "is not one of"),
        (["--price-per-core-hour", "-1"], 2, "is not in the range"),
        (["--model", "nowhere"], 1, "no model named 'nowhere'"),
        (["--kind", "shards"], 1, "no shards"),
        (["--column", "image"], 1, "are for Parquet"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tmp_path: Path,
    tiny: str,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    said: str,
) -> None:
    photos = write_folder(tmp_path / "photos", 3)
    given = [] if "--model" in options else ["--model", tiny]
    got, error = run(capsys, photos, tmp_path / "out", *given, *options)
    assert got == code
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "out" / "_job" / "job.json").exists()


@pytest.mark.usefixtures("no_ray")
def test_an_output_with_other_things_in_it_is_left_alone(
    tmp_path: Path, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    code, error = run(
        capsys, write_folder(tmp_path / "photos", 3), tmp_path / "out", "--model", tiny
    )
    assert (code, [path.name for path in (tmp_path / "out").iterdir()]) == (1, ["thesis.txt"])
    assert "choose a new folder" in error


def test_output_inside_a_folder_of_parquet_is_refused(tmp_path: Path, tiny: str) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", {"image": [photo(1)]})
    with pytest.raises(ShowtellError, match="must not be inside INPUT"):
        caption_all(tmp_path / "in", tmp_path / "in" / "out", JobOptions(model=tiny))


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0},
        {"batch_size": 0},
        {"part_size": 0},
        {"limit": 0},
        {"sample": 1.5},
        {"price_per_core_hour": -1.0},
        {"decoding": {"strategy": "sample"}},
    ],
)
def test_options_out_of_range_are_named(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options)).replace("decoding", "strategy")):
        JobOptions(**options)  # type: ignore[arg-type]


def test_without_the_extra_it_says_which_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "showtell.cluster.job", None)
    monkeypatch.delitem(sys.modules, "showtell.cluster.job")
    monkeypatch.setitem(sys.modules, "ray", None)
    code, error = run(capsys, tmp_path, tmp_path / "out")
    assert code == 1
    assert "needs the extra 'cluster': pip install \".[cluster]\"" in error


def test_a_changed_model_is_another_job(
    tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_folder(tmp_path / "photos", 3)

    class EndedError(Exception):
        """Stands for a job that is killed as soon as it has begun."""

    def ended(*_: object) -> None:
        raise EndedError

    monkeypatch.setattr(ray_cluster, "_init_ray", lambda *_: None)
    monkeypatch.setattr(ray_cluster, "_cluster_cores", lambda: 2)
    monkeypatch.setattr(job, "_caption_parts", ended)
    with pytest.raises(EndedError):
        caption_all(photos, tmp_path / "out", JobOptions(model=tiny))
    write_bundle(Path(tiny), seed=1)
    with pytest.raises(ShowtellError, match="the model's files changed"):
        caption_all(photos, tmp_path / "out", JobOptions(model=tiny))
    (photos / "new.png").write_bytes(photo(9))
    with pytest.raises(ShowtellError, match="its photos changed; the model's files changed"):
        caption_all(photos, tmp_path / "out", JobOptions(model=tiny))
