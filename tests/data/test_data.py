"""Tests of experiments.data, on files written here."""

import dataclasses
import gzip
import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from idx_files import FILES, idx_bytes, make_arrays, write_folder

from experiments.data import DATASETS, DataError, load, loading, read_idx


def assert_holds(dataset, arrays):
    for part in ("train", "test"):
        images = getattr(dataset, f"{part}_images")
        labels = getattr(dataset, f"{part}_labels")
        assert images.dtype == np.uint8
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(images, arrays[f"{part}_images"][..., None])
        np.testing.assert_array_equal(labels, arrays[f"{part}_labels"])


@pytest.fixture
def no_tfds(monkeypatch):
    def fail(name):
        raise AssertionError("TFDS must not be used here")

    monkeypatch.setattr(loading, "from_tfds", fail)


# --- read_idx ---


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0, 3)])
@pytest.mark.parametrize("zipped", [False, True])
def test_read_idx_returns_what_was_written(tmp_path, shape, zipped):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = tmp_path / "named-anyhow"  # gzip is told by the content, not by the name
    path.write_bytes(gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array))
    for name in (path, str(path)):
        found = read_idx(name)
        assert found.dtype == np.uint8
        assert not found.flags.writeable
        np.testing.assert_array_equal(found, array)
        np.testing.assert_array_equal(read_idx(name, ndim=len(shape)), array)


@pytest.mark.parametrize("zipped", [False, True])
def test_read_idx_refuses_every_truncation(tmp_path, zipped):
    raw = idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3))
    raw = gzip.compress(raw) if zipped else raw
    path = tmp_path / "file"
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(DataError, match=str(path)):
            read_idx(path)


@pytest.mark.parametrize("position", [10, -5])  # in the compressed data, in the checksum
def test_read_idx_refuses_corrupted_gzip(tmp_path, position):
    raw = bytearray(gzip.compress(idx_bytes(np.arange(6, dtype=np.uint8))))
    raw[position] ^= 0xFF
    path = tmp_path / "file.gz"
    path.write_bytes(raw)
    with pytest.raises(DataError, match="damaged or truncated gzip"):
        read_idx(path)


GOOD = idx_bytes(np.arange(6, dtype=np.uint8))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not an IDX file"),
        (b"<!DOCTYPE html><title>404</title>", "not an IDX file"),
        (gzip.compress(b"\x89PNG\r\n", mtime=0), "not an IDX file"),
        (GOOD + b"\0", r"trailing bytes: 7 bytes of data, expected 6 for shape \(6,\)"),
        (gzip.compress(GOOD + b"\0", mtime=0), "trailing bytes"),
        (gzip.compress(GOOD, mtime=0) + b"junk", "damaged or truncated gzip"),
        (GOOD[:-1], "truncated: 5 bytes of data, expected 6"),
        (GOOD[:6], "truncated: 6 bytes, expected a header of 8"),
        (idx_bytes(np.zeros(3, ">f4"), code=0x0D), "type code 0x0d, expected 0x08"),
        (bytes([0, 0, 8, 0, 1]), "0 IDX dimensions, expected at least 1"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "truncated: 0 bytes of data"),
        (bytes([0, 0, 8, 255]) + b"\0" * 1020, "impossible shape"),
        (bytes([0, 0, 8, 4]) + b"\0" * 4 + b"\xff" * 12, "impossible shape"),
    ],
)
def test_read_idx_refuses_other_contents(tmp_path, raw, message):
    path = tmp_path / "file"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=message) as info:
        read_idx(path)
    assert str(path) in str(info.value)


def test_read_idx_refuses_other_dimension_count(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(GOOD)
    with pytest.raises(DataError, match="1 IDX dimensions, expected 3"):
        read_idx(path, ndim=3)


def test_read_idx_refuses_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path)


# --- load from a folder ---


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_load_reads_plain_and_gz(tmp_path, no_tfds, name, suffix):
    arrays = make_arrays()
    write_folder(tmp_path / name, arrays, suffix)
    dataset = load(name, tmp_path)
    assert_holds(dataset, arrays)
    assert dataset.name == name
    assert dataset.image_shape == (28, 28, 1)
    assert dataset.outputs == 10
    assert (dataset.low, dataset.high) == (0, 255)
    expected = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.0, 1.0)}[name]
    assert (dataset.mean, dataset.std) == expected
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "other"
    with pytest.raises(ValueError, match="read-only"):
        dataset.train_labels[0] = 1


def test_environment_variable_names_the_folder_and_argument_wins(tmp_path, monkeypatch, no_tfds):
    first, second = make_arrays(seed=1), make_arrays(seed=2)
    write_folder(tmp_path / "env" / "mnist", first)
    write_folder(tmp_path / "arg" / "mnist", second)
    monkeypatch.setenv("QJAX_DATA_DIR", str(tmp_path / "env"))
    assert_holds(load("mnist"), first)
    assert_holds(load("mnist", str(tmp_path / "arg")), second)


def test_home_is_expanded(tmp_path, monkeypatch, no_tfds):
    arrays = make_arrays()
    write_folder(tmp_path / "images" / "mnist", arrays)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert_holds(load("mnist", "~/images"), arrays)


@pytest.mark.parametrize("key", FILES)
@pytest.mark.parametrize("by_environment", [False, True])
def test_missing_file_is_named_and_tfds_not_tried(
    tmp_path, monkeypatch, no_tfds, key, by_environment
):
    write_folder(tmp_path / "mnist", make_arrays())
    path = tmp_path / "mnist" / FILES[key]
    path.unlink()
    if by_environment:
        monkeypatch.setenv("QJAX_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match="missing file") as info:
        load("mnist", None if by_environment else tmp_path)
    assert f"{path} or {path}.gz" in str(info.value)
    assert "--data-dir" in str(info.value)
    assert "QJAX_DATA_DIR" in str(info.value)


def replaced(key, array):
    return make_arrays() | {key: array}


@pytest.mark.parametrize(
    ("arrays", "message", "named"),
    [
        (
            replaced("train_labels", np.zeros(6, np.uint8)),
            "7 images in .* but 6 labels in",
            ["train_images", "train_labels"],
        ),
        (
            replaced("test_labels", np.zeros(4, np.uint8)),
            "3 images in .* but 4 labels in",
            ["test_images", "test_labels"],
        ),
        (
            replaced("test_labels", np.array([0, 10, 3], np.uint8)),
            "labels from 0 to 10, expected 0 to 9",
            ["test_labels"],
        ),
        (
            replaced("train_images", np.zeros((7, 28, 27), np.uint8)),
            r"shape \(28, 27, 1\), expected \(28, 28, 1\)",
            ["train_images"],
        ),
        (make_arrays(n_test=0), "0 images, expected 1 to 10000", ["test_images"]),
        (
            replaced("train_images", np.zeros(7, np.uint8)),
            "1 IDX dimensions, expected 3",
            ["train_images"],
        ),
        (
            replaced("train_labels", np.zeros((7, 28, 28), np.uint8)),
            "3 IDX dimensions, expected 1",
            ["train_labels"],
        ),
    ],
)
def test_contents_are_checked(tmp_path, no_tfds, arrays, message, named):
    write_folder(tmp_path / "mnist", arrays)
    with pytest.raises(DataError, match=message) as info:
        load("mnist", tmp_path)
    for key in named:
        assert str(tmp_path / "mnist" / FILES[key]) in str(info.value)


def test_more_images_than_the_standard_data_set_are_refused(tmp_path, monkeypatch, no_tfds):
    write_folder(tmp_path / "mnist", make_arrays())
    small = dataclasses.replace(DATASETS["mnist"], n_train=6)
    monkeypatch.setattr(loading, "DATASETS", {"mnist": small})
    with pytest.raises(DataError, match="7 images, expected 1 to 6"):
        load("mnist", tmp_path)


def test_damaged_file_is_named(tmp_path, no_tfds):
    write_folder(tmp_path / "mnist", make_arrays(), ".gz")
    path = tmp_path / "mnist" / (FILES["test_images"] + ".gz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="gzip") as info:
        load("mnist", tmp_path)
    assert str(path) in str(info.value)


# --- names, digits, optional packages ---


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("MNIST", "mnist"), ("fashion-mnist", "fashion_mnist"), ("digit", "digits")],
)
def test_unknown_name_gives_the_names_and_the_nearest(name, nearest):
    with pytest.raises(DataError, match=f"did you mean {nearest}") as info:
        load(name)
    assert all(known in str(info.value) for known in DATASETS)


@pytest.mark.parametrize("name", ["zzz", None])
def test_unknown_name_without_a_near_one(name):
    with pytest.raises(DataError, match=r"unknown data set ('zzz'|None) \(valid: digits, "):
        load(name)


def test_digits_split_is_complete_disjoint_and_fixed(tmp_path):
    from sklearn.datasets import load_digits

    dataset, again = load("digits"), load("digits", tmp_path)  # the folder plays no part
    assert dataset.train_images.shape == (1437, 8, 8, 1)
    assert dataset.test_images.shape == (360, 8, 8, 1)
    assert dataset.image_shape == (8, 8, 1)
    assert (dataset.high, dataset.mean, dataset.std) == (16, 0.0, 1.0)
    assert dataset.train_images.max() == 16
    for field in FILES:
        np.testing.assert_array_equal(getattr(dataset, field), getattr(again, field))
    # Complete and disjoint: the parts put back in place are the original, each row used once.
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(1797)
    images = np.concatenate([dataset.train_images, dataset.test_images])
    labels = np.concatenate([dataset.train_labels, dataset.test_labels])
    assert images.dtype == np.uint8
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(images[np.argsort(order), ..., 0], bunch.images)
    np.testing.assert_array_equal(labels[np.argsort(order)], bunch.target)


def test_without_tensorflow_the_extra_and_the_folder_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(DataError, match=r"pip install -e .\.\[experiments\]") as info:
        load("mnist")
    assert "--data-dir" in str(info.value)
    assert "QJAX_DATA_DIR" in str(info.value)


@pytest.fixture
def anew():
    """Forgets what comes with scikit-learn, which is read once; also a function that does."""
    forget = loading._bundled.cache_clear
    forget()
    yield forget
    forget()


def test_without_scikit_learn_the_extra_is_named(monkeypatch, anew):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install -e .\.\[experiments\]"):
        load("digits")


def test_digits_are_loaded_without_scikit_learn_and_are_its_own_if_they_lie_elsewhere(
        monkeypatch, anew):
    ours = load("digits")
    assert "sklearn" not in subprocess.run(
        [sys.executable, "-c", "import sys; from experiments.data import load; load('digits');"
         "print(*sys.modules)"], text=True, capture_output=True, check=True).stdout.split()
    elsewhere = types.SimpleNamespace(origin="/nowhere/sklearn/__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: elsewhere)
    anew()
    theirs = load("digits")
    assert theirs is not ours
    for field in FILES:
        np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))


def test_import_needs_numpy_only_and_nothing_is_printed(tmp_path):
    write_folder(tmp_path / "mnist", make_arrays())
    code = (
        "import sys; from experiments.data import load; load('mnist', sys.argv[1]);"
        "sys.exit(str({'tensorflow', 'tensorflow_datasets', 'sklearn', 'jax'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert (result.stdout, result.stderr.strip()) == ("", "set()")


def test_a_holdout_is_the_last_sixth_of_the_training_set():
    whole, held = load("digits"), load("digits_holdout")
    kept = len(whole.train_labels) * 5 // 6
    np.testing.assert_array_equal(held.train_images, whole.train_images[:kept])
    np.testing.assert_array_equal(held.test_images, whole.train_images[kept:])
    np.testing.assert_array_equal(held.train_labels, whole.train_labels[:kept])
    np.testing.assert_array_equal(held.test_labels, whole.train_labels[kept:])
    assert held.name == "digits_holdout"
