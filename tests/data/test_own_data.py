"""Tests of data of one's own: files, folders, functions, and CIFAR-10's binary version."""

import struct
import sys

import numpy as np
import pytest

from experiments.data import DataError, load, shape_of

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (30, 20, 20), dtype=np.uint8)
LABELS = np.arange(30) % 4
FEATURES = RANDOM.normal(3.0, 2.0, (30, 5)).astype(np.float32)
KEYS = ("train_images", "train_labels", "test_images", "test_labels")


def parts(images=IMAGES, labels=LABELS, split=24):
    return dict(zip(KEYS, (images[:split], labels[:split], images[split:], labels[split:]),
                    strict=True))


def write(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + (
        array.tobytes())


@pytest.mark.parametrize(("images", "shape"), [
    (IMAGES, (20, 20, 1)),
    (np.stack([IMAGES] * 3, -1), (20, 20, 3)),
    (FEATURES, (5,)),
    (FEATURES.astype(np.float64), (5,)),
    (IMAGES.astype(np.int32), (20, 20, 1)),
])
def test_a_file_of_any_shape(tmp_path, images, shape):
    name = write(tmp_path / "own.npz", **parts(images))
    data = load(name)
    assert (data.name, data.image_shape, data.outputs) == (name, shape, 4)
    assert shape_of(name + "_holdout") == (shape, 4)
    assert data.train_images.dtype == (np.uint8 if images.dtype == np.uint8 else np.float32)
    np.testing.assert_array_equal(data.train_images.reshape(24, -1),
                                  images[:24].reshape(24, -1).astype(data.train_images.dtype))
    np.testing.assert_array_equal(data.test_labels, LABELS[24:])
    assert data.train_labels.dtype == np.int32


def test_kerass_names_and_a_lone_array_that_is_split(tmp_path):
    ours = load(write(tmp_path / "a.npz", **parts()))
    theirs = load(write(tmp_path / "b.npz", x_train=IMAGES[:24], y_train=LABELS[:24],
                        x_test=IMAGES[24:], y_test=LABELS[24:]))
    assert ours.fingerprint == theirs.fingerprint
    whole = write(tmp_path / "c.npz", images=IMAGES, labels=LABELS)
    split, again = load(whole), load(whole)
    assert len(split.train_labels) == 25
    assert split.fingerprint == again.fingerprint != ours.fingerprint
    found = np.concatenate([split.train_images, split.test_images]).reshape(30, -1)
    assert sorted(map(bytes, found)) == sorted(map(bytes, IMAGES.reshape(30, -1)))


def test_what_is_scaled_and_what_is_measured(tmp_path):
    pixels, features = (load(write(tmp_path / f"{i}.npz", **parts(images)))
                        for i, images in enumerate((IMAGES, FEATURES)))
    assert (pixels.low, pixels.high) == (0, 255)
    assert (features.low, features.high) == (FEATURES[:24].min(), FEATURES[:24].max())
    for data in (pixels, features):
        mean, deviation = data.usual
        scaled = (data.train_images.astype(np.float64) - data.low) / (data.high - data.low)
        axes = tuple(range(scaled.ndim - 1))
        np.testing.assert_allclose(((scaled - mean) / deviation).mean(axes), 0, atol=1e-5)
        np.testing.assert_allclose(((scaled - mean) / deviation).std(axes), 1, rtol=1e-5)
    assert features.usual[0].shape == (5,)


def test_a_feature_that_never_differs_stays(tmp_path):
    features = FEATURES.copy()
    features[:, 2] = 7
    assert load(write(tmp_path / "own.npz", **parts(features))).usual[1][2] == 1


def test_classes_that_are_not_there_may_be(tmp_path):
    for labels in (LABELS * 3, np.where(LABELS == 3, 9, LABELS)):
        np.savez(tmp_path / "few.npz", images=IMAGES, labels=labels)
        assert load(str(tmp_path / "few.npz")).outputs == 10


def test_targets(tmp_path):
    several = load(write(tmp_path / "a.npz", **parts(labels=FEATURES[:, :2])))
    one = load(write(tmp_path / "b.npz", **parts(labels=FEATURES[:, 0])))
    assert (several.outputs, several.train_labels.shape) == (2, (24, 2))
    assert (one.outputs, one.train_labels.shape, one.train_labels.dtype) == (
        1, (24, 1), np.float32)


def test_a_folder_of_idx_files_of_any_shape(tmp_path):
    for prefix, some in (("train", slice(24)), ("t10k", slice(24, None))):
        for images, ending in ((FEATURES.astype(np.uint8), "idx2"), (LABELS, "idx1")):
            what = "labels" if ending == "idx1" else "images"
            (tmp_path / f"{prefix}-{what}-{ending}-ubyte").write_bytes(
                idx(images[some].astype(np.uint8)))
    data = load(str(tmp_path))
    assert (data.image_shape, data.outputs) == ((5,), 4)
    np.testing.assert_array_equal(data.train_images, FEATURES[:24].astype(np.uint8))


def test_a_function(tmp_path, monkeypatch):
    (tmp_path / "my_data.py").write_text(
        "import numpy as np\n"
        "def blobs():\n"
        "    labels = np.arange(40) % 2\n"
        "    return {'images': labels[:, None] + np.zeros((40, 3)), 'labels': labels}\n"
        "def nothing():\n"
        "    return 3\n"
        "def some(count):\n"
        "    return blobs()\n"
        "class Things:\n"
        "    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    data = load("my_data:blobs_holdout")
    assert (data.image_shape, data.outputs, len(data.test_labels)) == ((3,), 2, 6)
    for name, message in (("my_data:absent", "no attribute 'absent'"),
                          ("no_data:blobs", "No module named 'no_data'"),
                          ("my_data:nothing", "gives int: expected a mapping"),
                          ("my_data:Things", "gives Things: expected a mapping"),
                          ("my_data:some", "'count': expected a function without arguments")):
        with pytest.raises(DataError, match=message):
            load(name)
    sys.modules.pop("my_data")


@pytest.mark.parametrize(("arrays", "message"), [
    (parts() | {"test_images": IMAGES[24:, :10]}, r"shape \(10, 20\), but training images"),
    (parts() | {"train_labels": LABELS[:23]}, "24 images in .* but 23 labels"),
    (parts() | {"test_labels": LABELS[24:] + 3}, "labels from 3 to 6, expected 0 to 3"),
    (parts() | {"train_labels": LABELS[:24] - 1}, "labels from -1 to 2, expected 0 to 2"),
    (parts() | {"train_labels": LABELS[:24] * 0, "test_labels": LABELS[24:] * 0}, "2 classes"),
    (parts() | {"test_labels": FEATURES[24:, 0]}, "float32, but training labels are integers"),
    (parts(labels=np.eye(4, dtype=int)[LABELS]), r"int64 of shape \(24, 4\), expected classes"),
    (parts(labels=LABELS.astype(str)), "<U21 of shape"),
    (parts(FEATURES * np.nan), "not all of it is finite"),
    (parts(FEATURES * 0), "all values are 0"),
    (parts(IMAGES[:, 0, 0]), r"uint8 of shape \(24,\), expected numbers"),
    (parts(split=30), "0 images, expected at least 1"),
    (parts(labels=LABELS + 1), "labels from 1 to 4, expected classes counted from 0"),
    (parts(labels=np.where(LABELS == 3, 1000, LABELS)),
     r"only 4 classes with labels from 0 to 1000: .* for training and test together"),
    (parts(labels=LABELS + 1990), "write labels - 1990"),
    ({"train_images": IMAGES},
     "^[^(]*: no train_labels, test_images, test_labels, only train_images"),
    ({"images": IMAGES, "labels": LABELS[:4]}, "expected as many of one as of the other"),
    ({}, "only nothing"),
])
def test_what_does_not_fit_is_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        load(write(tmp_path / "own.npz", **arrays))


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        load(str(tmp_path / "absent.npz"))
    np.save(tmp_path / "lone.npy", IMAGES)
    (tmp_path / "lone.npy").rename(tmp_path / "lone.npz")
    (tmp_path / "text.npz").write_text("label,pixel\n")
    write(tmp_path / "objects.npz", train_images=np.array([{}], dtype=object))
    whole = (tmp_path / "objects.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[:len(whole) // 2])
    for name in ("lone", "text", "objects", "half"):
        with pytest.raises(DataError, match=r"not an \.npz file of arrays|savez"):
            load(str(tmp_path / f"{name}.npz"))
    assert shape_of(str(tmp_path / "absent.npz")) is None


def cifar(folder, train=2, test=3, seed=0):
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    found = {}
    for name, count in [(f"data_batch_{i}", train) for i in range(1, 6)] + [("test_batch", test)]:
        records = random.integers(0, 256, (count, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        (folder / f"{name}.bin").write_bytes(records.tobytes())
        found[name] = records
    return found


@pytest.mark.parametrize("inside", [".", "cifar-10-batches-bin"])
def test_cifar10_in_its_binary_version(tmp_path, inside):
    records = cifar(tmp_path / "cifar10" / inside)
    data = load("cifar10", tmp_path)
    assert (data.image_shape, data.outputs, len(data.train_labels)) == ((32, 32, 3), 10, 10)
    record, image = records["data_batch_2"][1], data.train_images[3]
    assert data.train_labels[3] == record[0]
    for channel, row, column in ((0, 0, 0), (1, 3, 5), (2, 31, 30)):  # red first, row by row
        assert image[row, column, channel] == record[1 + channel * 1024 + row * 32 + column]
    np.testing.assert_array_equal(data.test_labels, records["test_batch"][:, 0])
    assert data.usual[0].shape == (3,)


def test_cifar10_that_is_damaged_or_not_there(tmp_path):
    cifar(tmp_path / "cifar10")
    path = tmp_path / "cifar10" / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_3.bin: 6145 bytes, expected a multiple"):
        load("cifar10", tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"data_batch_3.bin: No such file .*--data-dir"):
        load("cifar10", tmp_path)
