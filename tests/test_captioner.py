from __future__ import annotations

import copy
import io
import itertools
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from showtell import Caption, Captioner, Keyword
from showtell.bundle import CARD, REQUIRED, VOCABULARY, load_bundle, sha256
from showtell.bundle.onnx_runtime import OnnxModel
from showtell.decoding.beam_search import beam_search
from showtell.decoding.options import Strategy
from showtell.decoding.self_joins import SelfJoins
from showtell.errors import BundleError, PhotoError
from showtell.image import open_photo, prepare
from support.odd_photos import corners, encoded, write_broken, write_odd
from support.paths import SAMPLE_PHOTOS
from support.tiny_bundles import CALIBRATION, GRID, write_bundle


@pytest.fixture(scope="module")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("models") / "tiny", confidence=CALIBRATION).path


@pytest.fixture(scope="module")
def captioner(bundle_dir: Path) -> Captioner:
    return Captioner.load(bundle_dir, threads=1)


def noise(seed: int) -> Image.Image:
    draw = np.random.default_rng(seed)
    return Image.fromarray(draw.integers(0, 255, (8, 8, 3)).astype(np.uint8)).resize((90, 70))


def showtell_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "showtell-" in thread.name]


# one photo


def test_one_photo_of_any_kind_gives_the_same_caption(captioner: Captioner, tmp_path: Path) -> None:
    data = encoded(noise(1), "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    expected = captioner.caption(path)
    assert expected.path == path
    assert expected.text
    for source in (str(path), data, io.BytesIO(data), noise(1), np.asarray(noise(1))):
        caption = captioner.caption(source)
        assert isinstance(caption, Caption)
        assert (caption.text, caption.words) == (expected.text, expected.words)
    assert captioner.caption(data).path is None


@pytest.mark.parametrize("strategy", ["beam", "diverse", "sample", "mbr"])
def test_no_caption_has_a_word_that_the_self_joins_forbid(
    bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: Strategy
) -> None:
    captioner = Captioner.load(bundle_dir, threads=1)
    before = captioner.caption(noise(1), strategy=strategy)
    assert before.text is not None
    word = before.words[0].word
    token = captioner.bundle.vocabulary.words.index(word)
    monkeypatch.setattr(SelfJoins, "are_in", lambda _, tokens: token in tokens)
    monkeypatch.setattr(
        SelfJoins, "after", lambda _, past: (np.arange(len(past)), np.full(len(past), token))
    )
    after = captioner.caption(noise(1), strategy=strategy)
    assert word not in [item.word for item in after.words]
    pixels = prepare(noise(1), captioner.bundle.manifest.preprocessing)[None]
    [(caption, _)] = captioner.caption_pixels(pixels, [tmp_path])
    assert word not in [item.word for item in caption.words]


def test_pickled_and_copied_captioners_are_loaded_again(bundle_dir: Path) -> None:
    captioner = Captioner.load(bundle_dir, threads=1, max_pixels=10_000)
    expected = captioner.caption(noise(1)).text
    for other in (copy.deepcopy(captioner), pickle.loads(pickle.dumps(captioner))):
        assert other is not captioner
        assert (other.threads, other.max_pixels) == (1, 10_000)
        assert other.caption(noise(1)).text == expected
    with get_context("spawn").Pool(1) as pool:
        assert pool.apply(captioner.caption, (noise(1),)).text == expected


def test_a_photo_that_failed_has_no_text(captioner: Captioner, tmp_path: Path) -> None:
    [failed] = captioner.caption([tmp_path / "gone.jpg"])
    assert failed.text is None
    assert failed.error == f"{tmp_path}/gone.jpg: no such file"


def test_one_bad_photo_raises(captioner: Captioner, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="no such file"):
        captioner.caption(tmp_path / "gone.jpg")
    with pytest.raises(PhotoError, match="int is not a photo"):
        captioner.caption(42)  # type: ignore[call-overload]


def test_words_carry_log_probability_and_attention_on_the_grid(captioner: Captioner) -> None:
    caption = captioner.caption(noise(2))
    assert " ".join(word.word for word in caption.words).replace(" 's", "'s") == caption.text
    total = sum(word.log_probability for word in caption.words)
    assert caption.log_probability is not None
    assert caption.log_probability <= total + 1e-6
    for word in caption.words:
        assert word.attention is not None
        assert word.attention.shape == GRID
        assert word.attention.sum() == pytest.approx(1, abs=1e-4)


def test_model_without_attention_gives_words_without_it(tmp_path: Path) -> None:
    write_bundle(tmp_path / "merge", attention=False)
    caption = Captioner.load(tmp_path / "merge", threads=1).caption(noise(2))
    assert caption.words
    assert all(word.attention is None for word in caption.words)
    assert json.loads(json.dumps(caption.to_dict(words=True)))["words"][0]["attention"] is None


def test_caption_is_what_the_search_over_the_networks_finds(
    captioner: Captioner, bundle_dir: Path
) -> None:
    bundle = load_bundle(bundle_dir)
    model = OnnxModel(bundle, threads=1)
    pixels = prepare(open_photo(noise(3)), bundle.manifest.preprocessing)
    [[best, second]] = beam_search(model, model.encode(pixels[None]), nbest=2, max_length=12)
    caption = captioner.caption(noise(3), nbest=2)
    assert caption.text == bundle.vocabulary.decode(best.tokens)
    assert caption.log_probability == best.log_probability
    [alternative] = caption.alternatives
    assert alternative.text == bundle.vocabulary.decode(second.tokens)


def test_different_photos_get_different_captions(captioner: Captioner) -> None:
    texts = [caption.text for caption in captioner.caption(noise(seed) for seed in range(30))]
    assert len(set(texts)) > 5


def test_model_that_never_ends_still_captions(tmp_path: Path) -> None:
    write_bundle(tmp_path / "endless", ends=False, max_length=7)
    caption = Captioner.load(tmp_path / "endless", threads=1).caption(noise(1))
    assert len(caption.words) == 7


# options


def test_nbest_widens_a_beam_that_was_not_asked_for(captioner: Captioner) -> None:
    caption = captioner.caption(noise(1), nbest=6)
    assert len(caption.alternatives) == 5
    assert len({caption.text, *(item.text for item in caption.alternatives)}) == 6
    with pytest.raises(ValueError, match="nbest: 6 is more than beam=2"):
        captioner.caption(noise(1), nbest=6, beam=2)


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "guess"},
        {"beam": 0},
        {"nbest": 0},
        {"max_length": 0},
        {"top_p": 2.0},
        {"temperature": 0.0},
        {"batch_size": 0},
        {"groups": 2},
        {"seed": -1},
        {"top_k": -1},
    ],
)
def test_wrong_options_are_refused_before_a_photo_is_read(
    captioner: Captioner, options: dict[str, object]
) -> None:
    def untouched() -> Iterator[str]:
        raise AssertionError("a photo was read")
        yield ""

    with pytest.raises(ValueError, match=next(iter(options))):
        captioner.caption(untouched(), **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("strategy", ["beam", "diverse", "sample", "mbr"])
def test_every_strategy_captions_alone_as_in_a_batch(captioner: Captioner, strategy: str) -> None:
    options = {"strategy": strategy, "nbest": 3, "seed": 5}
    photos = [noise(seed) for seed in range(7)]

    def texts(caption: Caption) -> list[str]:
        # not log-probabilities: their last digits depend on the shape of a matrix product
        return [caption.text, *(item.text for item in caption.alternatives)]

    runs = [
        [texts(c) for c in captioner.caption(photos, batch_size=size, **options)]  # type: ignore[call-overload]
        for size in (1, 3, 7)
    ]
    assert runs[0] == runs[1] == runs[2]
    assert texts(captioner.caption(photos[0], **options)) == runs[0][0]  # type: ignore[call-overload]


def test_another_seed_draws_other_captions(captioner: Captioner) -> None:
    photos = [noise(seed) for seed in range(5)]
    one, two = (
        [caption.text for caption in captioner.caption(photos, strategy="sample", seed=seed)]
        for seed in (1, 2)
    )
    assert one != two


def test_confidence_is_for_beam_search_of_a_calibrated_model(
    captioner: Captioner, tmp_path: Path
) -> None:
    caption = captioner.caption(noise(1))
    assert caption.confidence is not None
    assert 0 < caption.confidence < 1
    assert captioner.caption(noise(1), strategy="sample").confidence is None
    write_bundle(tmp_path / "plain")
    assert Captioner.load(tmp_path / "plain", threads=1).caption(noise(1)).confidence is None


# many photos


def test_many_photos_come_in_order_with_path_and_error(
    captioner: Captioner, tmp_path: Path
) -> None:
    broken, odd = write_broken(tmp_path), write_odd(tmp_path)
    names = list(itertools.chain(*itertools.zip_longest(broken, odd)))
    names = [name for name in names if name]
    captions = list(captioner.caption((tmp_path / name for name in names), batch_size=4))
    assert [caption.path for caption in captions] == [tmp_path / name for name in names]
    for name, caption in zip(names, captions, strict=True):
        if name in broken:
            assert caption.error is not None
            assert broken[name] in caption.error
            assert caption.text is None
            assert caption.to_dict()["text"] is None
        else:
            assert caption.error is None
            assert caption.text


def test_things_that_are_no_photos_are_errors_of_their_own(captioner: Captioner) -> None:
    captions = list(captioner.caption([noise(1), None, 42, noise(2)]))  # type: ignore[list-item]
    assert [caption.error is None for caption in captions] == [True, False, False, True]


def test_no_photos_give_no_captions(captioner: Captioner) -> None:
    assert list(captioner.caption([])) == []


def test_endless_input_is_read_only_a_little_ahead(captioner: Captioner) -> None:
    taken = 0

    def endless() -> Iterator[Image.Image]:
        nonlocal taken
        while True:
            taken += 1
            yield noise(taken)

    captions = captioner.caption(endless(), batch_size=4)
    first = list(itertools.islice(captions, 9))
    assert [caption.text for caption in first[:2]] == [
        captioner.caption(noise(seed)).text for seed in (1, 2)
    ]
    assert taken <= 9 + 4 * 4
    captions.close()  # type: ignore[attr-defined]
    assert not showtell_threads()


def test_iterator_that_is_never_started_starts_no_threads(captioner: Captioner) -> None:
    captions = captioner.caption([noise(1)])
    assert not showtell_threads()
    del captions


def test_failing_input_is_told_after_the_photos_before_it(captioner: Captioner) -> None:
    def failing() -> Iterator[Image.Image]:
        yield noise(1)
        yield noise(2)
        raise RuntimeError("the camera fell into the sea")

    captions = captioner.caption(failing())
    assert next(captions).text
    assert next(captions).text
    with pytest.raises(RuntimeError, match="sea"):
        next(captions)
    assert not showtell_threads()


def test_array_of_photos_is_many_photos(captioner: Captioner) -> None:
    photos = np.stack([np.asarray(noise(seed)) for seed in range(3)])
    assert [caption.text for caption in captioner.caption(photos)] == [
        captioner.caption(photo).text for photo in photos
    ]


def test_captioner_is_shared_by_threads(captioner: Captioner) -> None:
    expected = [caption.text for caption in captioner.caption([noise(s) for s in range(6)])]
    found: list[list[str]] = []

    def work() -> None:
        found.append([captioner.caption(noise(seed)).text for seed in range(6)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_features_are_the_encoders(captioner: Captioner, tmp_path: Path) -> None:
    one = captioner.features(noise(1))
    assert one.pooled is not None
    assert one.regions is not None
    assert one.regions.shape == (GRID[0] * GRID[1], 3)
    np.testing.assert_allclose(one.regions.mean(axis=0), one.pooled, atol=1e-6)
    first, missing, last = captioner.features([noise(1), tmp_path / "gone.jpg", noise(2)])
    np.testing.assert_allclose(first.pooled, one.pooled, atol=1e-6)
    assert missing.error is not None
    assert missing.path == tmp_path / "gone.jpg"
    assert last.error is None
    with pytest.raises(PhotoError, match="no such file"):
        captioner.features(tmp_path / "gone.jpg")


# bundles that do not fit


def test_damaged_network_is_refused_by_name(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    path = bundle.path / "encoder.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(BundleError, match=r"encoder\.onnx: changed since"):
        Captioner.load(bundle.path)
    path.write_bytes(b"no network")
    with pytest.raises(BundleError, match=r"encoder\.onnx: not an ONNX file"):
        Captioner(bundle)


def test_network_that_does_not_fit_its_manifest_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    decoder = replace(bundle.manifest.decoder, state=("hidden", "cell"))
    bundle = replace(bundle, manifest=replace(bundle.manifest, decoder=decoder))
    with pytest.raises(BundleError, match=r"decoder_begin\.onnx: .* lacks the output 'cell'"):
        Captioner(bundle)


# a process of its own


def test_captioner_names_its_model_and_folder(bundle_dir: Path) -> None:
    text = repr(Captioner.load(bundle_dir))
    assert text == f"<Captioner {load_bundle(bundle_dir).manifest.name}: {bundle_dir}>"


def test_captioning_needs_neither_torch_nor_timm_nor_yaml(bundle_dir: Path, tmp_path: Path) -> None:
    corners().save(tmp_path / "photo.png")
    script = f"""
import sys
for name in ("torch", "timm", "yaml", "onnx", "scipy", "safetensors"):
    sys.modules[name] = None  # importing it fails
import showtell
assert "numpy" not in sys.modules, "import showtell is not instant"
captioner = showtell.Captioner.load({os.fspath(bundle_dir)!r})
print(captioner.caption({os.fspath(tmp_path / "photo.png")!r}).text)
for strategy in ("beam", "diverse", "sample", "mbr"):
    assert next(captioner.caption([{os.fspath(tmp_path / "photo.png")!r}], strategy=strategy)).text
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_interrupt_ends_a_long_run_at_once(bundle_dir: Path) -> None:
    script = f"""
import itertools, showtell
from PIL import Image
captioner = showtell.Captioner.load({os.fspath(bundle_dir)!r})
for caption in captioner.caption(Image.new("RGB", (64, 64)) for _ in itertools.count()):
    print(caption.text, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(2)
        _, errors = process.communicate(timeout=300)  # there is no end of photos
    assert b"KeyboardInterrupt" in errors


@pytest.mark.slow
def test_memory_stays_bounded_over_a_hundred_thousand_photos(bundle_dir: Path) -> None:
    script = f"""
import itertools, resource, showtell
from PIL import Image
captioner = showtell.Captioner.load({os.fspath(bundle_dir)!r})
photo = Image.new("RGB", (64, 64))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for index, caption in enumerate(captioner.caption(itertools.repeat(photo, 100_000))):
    if index == 2_000:
        early = peak()
assert peak() - early < 20_000, (early, peak())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# prepared photos


def test_prepared_photos_are_captioned_as_photos_are_and_bring_their_features(
    captioner: Captioner, tmp_path: Path
) -> None:
    images = [noise(seed) for seed in range(5)]
    preprocessing = captioner.bundle.manifest.preprocessing
    pixels = np.stack([prepare(image, preprocessing) for image in images])
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    found = captioner.caption_pixels(pixels, paths)
    assert [caption.path for caption, _ in found] == paths
    for image, (caption, pooled) in zip(images, found, strict=True):
        alone = captioner.caption(image)
        assert (caption.text, caption.confidence) == (alone.text, pytest.approx(alone.confidence))
        np.testing.assert_allclose(pooled, captioner.features(image).pooled, rtol=1e-5)


@pytest.mark.parametrize(("photo", "word"), [("coffee", "coffee"), ("tiger-in-snow", "tiger")])
def test_the_general_model_names_things_that_no_captioned_photo_showed(
    photo: str, word: str
) -> None:
    caption = Captioner.load("general").caption(SAMPLE_PHOTOS / f"{photo}.jpg")
    assert word in caption.text.split()


def test_the_general_model_captions_a_photo_alone_as_in_a_batch() -> None:
    photos = sorted(SAMPLE_PHOTOS.glob("*.jpg"))[:6]
    captioner = Captioner.load("general")
    alone = [captioner.caption(photo).text for photo in photos]
    assert [caption.text for caption in captioner.caption(photos)] == alone


def test_the_general_model_gives_keywords_most_probable_first() -> None:
    captioner = Captioner.load("general")
    photos = [SAMPLE_PHOTOS / f"{name}.jpg" for name in ("tiger-in-snow", "rocket", "coffee")]
    captions = list(captioner.caption(photos))
    for caption, word in zip(captions, ("tiger", "rocket", "coffee"), strict=True):
        probabilities = [keyword.probability for keyword in caption.keywords]
        assert probabilities == sorted(probabilities, reverse=True)
        assert word in [keyword.word for keyword in caption.keywords[:5]]
    pixels = prepare(Image.open(photos[0]), captioner.bundle.manifest.preprocessing)
    [(prepared, _)] = captioner.caption_pixels(pixels[None], [photos[0]])
    assert [keyword.word for keyword in prepared.keywords] == [
        keyword.word for keyword in captions[0].keywords
    ]


def test_a_model_without_a_word_detector_has_no_keywords(captioner: Captioner) -> None:
    assert captioner.caption(noise(1)).keywords == ()


def test_keywords_are_in_the_record_on_request() -> None:
    caption = Caption(text="a dog", keywords=(Keyword("dog", 0.987654321), Keyword("ball", 0.5)))
    assert "keywords" not in caption.to_dict()
    assert caption.to_dict(keywords=True)["keywords"] == [
        {"word": "dog", "probability": 0.987654},
        {"word": "ball", "probability": 0.5},
    ]


@pytest.mark.parametrize("name", ["nbest", "batch_size", "threads"])
@pytest.mark.parametrize("value", ["3", 1.5, [1]])
def test_count_of_a_wrong_type_is_a_value_error_that_names_it(
    name: str, value: Any, tmp_path: Path
) -> None:
    write_bundle(tmp_path / "model")

    def caption(*, threads: Any = None, **options: Any) -> None:
        list(Captioner.load(tmp_path / "model", threads=threads).caption([b""], **options))

    with pytest.raises(ValueError, match=f"^{name}: must be an integer, not "):
        caption(**{name: value})


@pytest.mark.parametrize("name", [name for name in REQUIRED if name != CARD])
def test_a_changed_file_of_a_model_is_refused_by_name(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / "model")
    file = tmp_path / "model" / name
    file.write_bytes(file.read_bytes() + b"\x12\x01x")
    with pytest.raises(BundleError, match=f"{name}: changed since it was written"):
        Captioner.load(tmp_path / "model")


def test_each_file_of_a_model_is_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "model")
    hashed: list[str] = []

    def note_and_hash(path: Path) -> str:
        hashed.append(path.name)
        return sha256(path)

    monkeypatch.setattr("showtell.bundle.bundle.sha256", note_and_hash)
    Captioner.load(tmp_path / "model")  # the networks are hashed as they are read
    assert sorted(hashed) == sorted([CARD, VOCABULARY])


def test_network_that_changed_after_the_check_is_not_loaded(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model")
    bundle = load_bundle(tmp_path / "model")
    encoder = bundle.file("encoder.onnx")
    encoder.write_bytes(encoder.read_bytes() + b"\x12\x01x")  # another producer name: still loads
    with pytest.raises(BundleError, match=r"encoder\.onnx: changed since it was written"):
        OnnxModel(bundle, threads=1)
