"""Image data sets for the experiments: digits, MNIST and Fashion-MNIST as NumPy arrays.

``load(name)`` is the whole interface. ``digits`` comes with scikit-learn and needs no network.
The others come from IDX files in a folder (``data_dir`` or ``QJAX_DATA_DIR``) when one is named,
and otherwise from TensorFlow Datasets, which is imported only then.
"""

import contextlib
import dataclasses
import difflib
import gzip
import io
import math
import os
import struct
import types
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

__all__ = [
    "DATASETS", "HOLDOUT", "NAMES", "DataError", "Dataset", "DatasetSpec", "load", "read_idx",
]

_ENV = "QJAX_DATA_DIR"
_EXTRA = "pip install 'qjax-research[experiments]'"
_PARTS = {"train": "train", "test": "t10k"}  # our name of a part -> prefix of its IDX files


class DataError(ValueError):
    """A data set cannot be loaded; the message says why and what to do about it."""


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """What a data set must look like, whichever source it comes from.

    ``source`` is "sklearn" (bundled with it) or "idx" (IDX files, else TFDS); ``n_train`` and
    ``n_test`` are the standard numbers of images; the rest is as in ``Dataset``.
    """

    source: str
    image_shape: tuple[int, int, int]
    n_classes: int
    n_train: int
    n_test: int
    pixel_max: int = 255
    mean: float = 0.0
    std: float = 1.0


DATASETS: Mapping[str, DatasetSpec] = types.MappingProxyType(
    {
        "digits": DatasetSpec("sklearn", (8, 8, 1), 10, 1437, 360, pixel_max=16),
        "mnist": DatasetSpec("idx", (28, 28, 1), 10, 60000, 10000, mean=0.1307, std=0.3081),
        "fashion_mnist": DatasetSpec("idx", (28, 28, 1), 10, 60000, 10000),
    }
)

# NAME_holdout is the training set of NAME, its last sixth held out as the test set: what to choose
# settings on, so that the real test set has no part in it.
HOLDOUT = "_holdout"
NAMES = (*DATASETS, *(name + HOLDOUT for name in DATASETS))


@dataclasses.dataclass(frozen=True, eq=False)  # eq would compare arrays, which is ambiguous
class Dataset:
    """A loaded data set; the arrays are read-only.

    Attributes:
        name: one of ``NAMES``.
        train_images, test_images: uint8 [n, height, width, channels], 0 .. pixel_max.
        train_labels, test_labels: int32 [n], 0 .. n_classes - 1.
        n_classes: number of classes.
        pixel_max: 255, or 16 for digits.
        mean, std: normalized images are ``(images / pixel_max - mean) / std``.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    n_classes: int
    pixel_max: int
    mean: float
    std: float

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        return self.train_images.shape[1:]


def load(name: str, data_dir: str | os.PathLike | None = None) -> Dataset:
    """Loads a data set by name.

    Args:
        name: one of ``NAMES``.
        data_dir: folder with ``<name>/train-images-idx3-ubyte`` and the three files beside it,
            each plain or with ``.gz``. None: the environment variable QJAX_DATA_DIR, and if that
            is unset or empty too, TensorFlow Datasets (in its own folder, TFDS_DATA_DIR). A
            folder may hold fewer images than the standard data set. digits uses no folder.

    Returns:
        The data set. IDX files keep their order; TFDS has another, fixed one, because it shuffles
        the examples when it prepares them.

    Raises:
        DataError: unknown name, missing or damaged file, contents that are not this data set,
            a package that is not installed, or a failed download.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(str(name).lower(), NAMES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"unknown data set {name!r}: expected one of {', '.join(NAMES)}.{hint}")
    if name.endswith(HOLDOUT):
        return _hold_out(load(name.removesuffix(HOLDOUT), data_dir))
    spec = DATASETS[name]
    folder = data_dir if data_dir is not None else os.environ.get(_ENV) or None
    if spec.source == "sklearn":
        parts = _from_sklearn(spec)
    elif folder is not None:
        parts = _from_folder(Path(folder).expanduser() / name)
    else:
        parts = _from_tfds(name)
    arrays = {}
    for part, (images, labels, *sources) in parts.items():
        limit = spec.n_train if part == "train" else spec.n_test
        _check(spec, limit, images, labels, *sources)
        arrays[f"{part}_images"] = np.asarray(images, np.uint8)
        arrays[f"{part}_labels"] = np.asarray(labels, np.int32)
    for array in arrays.values():
        array.setflags(write=False)  # as arrays read from IDX files are anyway
    about = {key: getattr(spec, key) for key in ("n_classes", "pixel_max", "mean", "std")}
    return Dataset(name=name, **arrays, **about)


def _hold_out(whole: Dataset) -> Dataset:
    kept = len(whole.train_labels) * 5 // 6
    if not kept:
        raise DataError(
            f"{whole.name}{HOLDOUT} holds out a sixth of the training images, and there is "
            f"{len(whole.train_labels)}: expected at least 2"
        )
    return dataclasses.replace(
        whole,
        name=whole.name + HOLDOUT,
        train_images=whole.train_images[:kept],
        train_labels=whole.train_labels[:kept],
        test_images=whole.train_images[kept:],
        test_labels=whole.train_labels[kept:],
    )


def read_idx(path: str | os.PathLike, ndim: int | None = None) -> np.ndarray:
    """Reads an IDX file of unsigned bytes, plain or gzipped (told by its bytes, not its name).

    Args:
        path: the file.
        ndim: the number of dimensions that it must have; None accepts any from 1 on.

    Returns:
        uint8 array of the shape in the header, read-only.

    Raises:
        DataError: the file is missing, unreadable, not IDX, not of unsigned bytes, has another
            number of dimensions, or holds fewer or more bytes than its header announces.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file: expected an IDX file, plain or .gz") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: damaged or truncated gzip file ({error}): download or copy it again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    # Header: two zero bytes, a type code, the number of dimensions, then big-endian sizes.
    if len(raw) < 4 or raw[:2] != b"\0\0":
        raise DataError(
            f"{path}: not an IDX file: it starts with {raw[:4]!r}, expected two zero bytes, "
            "a type code and a dimension count; download or copy it again"
        )
    code, found = raw[2], raw[3]
    if code != 0x08:
        raise DataError(f"{path}: IDX type code 0x{code:02x}, expected 0x08 (unsigned bytes)")
    if found < 1 or ndim not in (None, found):
        raise DataError(
            f"{path}: {found} IDX dimensions, expected {'at least 1' if ndim is None else ndim}; "
            "images have 3, labels have 1: check that the file has the right name"
        )
    start = 4 + 4 * found
    if len(raw) < start:
        raise DataError(f"{path}: truncated: {len(raw)} bytes, expected a header of {start}")
    shape = struct.unpack_from(f">{found}I", raw, 4)
    expected = math.prod(shape)
    size = len(raw) - start
    if size != expected:
        raise DataError(
            f"{path}: {'truncated' if size < expected else 'trailing bytes'}: {size} bytes of "
            f"data, expected {expected} for shape {shape}; download or copy it again"
        )
    try:
        return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
    except ValueError as error:  # no data, yet more dimensions or elements than NumPy can index
        raise DataError(f"{path}: impossible shape {shape} in the header: {error}") from error


def _from_folder(folder):
    """{part: (images, labels, images file, labels file)} of the four IDX files in ``folder``."""
    parts = {}
    for part, prefix in _PARTS.items():
        images_path = _find(folder / f"{prefix}-images-idx3-ubyte")
        labels_path = _find(folder / f"{prefix}-labels-idx1-ubyte")
        images = read_idx(images_path, ndim=3)[..., None]
        parts[part] = (images, read_idx(labels_path, ndim=1), images_path, labels_path)
    return parts


def _find(path):
    """``path`` or ``path``.gz, whichever exists."""
    zipped = path.with_name(path.name + ".gz")
    for candidate in (path, zipped):
        if os.path.exists(candidate):
            return candidate
    raise DataError(
        f"missing file: expected {path} or {zipped}; give the folder that holds "
        f"{path.parent.name}/ as --data-dir or {_ENV}, or neither, to use TensorFlow Datasets"
    )


def _from_sklearn(spec):
    """digits, with a split that is fixed for all time: scikit-learn itself has none."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(f"digits needs scikit-learn, not installed here: {_EXTRA}") from error
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    source = "scikit-learn load_digits()"
    return {
        part: (bunch.images[rows][..., None], bunch.target[rows], source, source)
        for part, rows in zip(_PARTS, np.split(order, [spec.n_train]), strict=True)
    }


def _from_tfds(name):
    """The data set as TensorFlow Datasets prepares it, downloaded if it is not there yet."""
    offline = (
        f"Without a network, give a folder with {name}/train-images-idx3-ubyte.gz and the other "
        f"three IDX files as --data-dir or in {_ENV}"
    )
    try:
        import tensorflow as tf
        import tensorflow_datasets as tfds

        # TensorFlow only decodes images here; on a GPU it would take the memory that JAX needs.
        # It refuses (RuntimeError) once its devices are in use: then that choice is the caller's.
        with contextlib.suppress(RuntimeError):
            tf.config.set_visible_devices([], "GPU")
        tfds.disable_progress_bar()
        # TFDS prints when it prepares a data set; stdout belongs to the experiment.
        with contextlib.redirect_stdout(io.StringIO()):
            # TFDS reads TFDS_DATA_DIR once, when it is imported; passing it obeys later changes.
            builder = tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR") or None)
            builder.download_and_prepare()
        parts = {}
        for part in _PARTS:
            split = tfds.as_numpy(builder.as_dataset(part, batch_size=-1))
            source = f"TensorFlow Datasets {part} split in {builder.data_path}"
            parts[part] = (split["image"], split["label"], source, source)
        return parts
    except ImportError as error:  # also what TFDS imports only when it is used
        raise DataError(
            f"{name} without a data folder needs tensorflow-datasets and tensorflow, and an "
            f"import failed ({error}): {_EXTRA}. {offline}"
        ) from error
    except (
        OSError,  # also the connection errors of requests
        tf.errors.OpError,
        tfds.download.DownloadError,
        tfds.core.download.download_manager.NonMatchingChecksumError,
        tfds.core.download.extractor.ExtractError,
    ) as error:
        raise DataError(
            f"TensorFlow Datasets could not get {name}: {type(error).__name__}: {error}. {offline}"
        ) from error


def _check(spec, limit, images, labels, images_source, labels_source):
    """Raises DataError unless one part of a data set fits its specification."""
    if images.shape[1:] != spec.image_shape:
        raise DataError(
            f"{images_source}: images of shape {images.shape[1:]}, expected {spec.image_shape}: "
            "check that these files belong to this data set"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{len(images)} images in {images_source} but {len(labels)} labels in "
            f"{labels_source}: expected as many of one as of the other"
        )
    if not 1 <= len(images) <= limit:
        raise DataError(f"{images_source}: {len(images)} images, expected 1 to {limit}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= spec.n_classes:
        raise DataError(
            f"{labels_source}: labels from {low} to {high}, expected 0 to {spec.n_classes - 1}"
        )
