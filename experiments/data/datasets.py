"""The data sets that there are, by name, and what one looks like when it is loaded."""

import dataclasses
import functools
import hashlib
import types
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.commandline import options

__all__ = [
    "DATASETS", "FOLDER_VARIABLE", "FORMS", "HOLDOUT", "NAMES", "PARTS", "TFDS", "DataError",
    "Dataset", "DatasetSpec", "Parts", "label_of", "word",
]

FOLDER_VARIABLE = "QJAX_DATA_DIR"  # of the environment
PARTS = {"train": "train", "test": "t10k"}  # our name of a part -> prefix of its IDX files
# What every source gives: part -> (images, labels, where images are from, where labels are from).
Parts = Mapping[str, tuple[np.ndarray, np.ndarray, object, object]]


class DataError(ValueError):
    """A data set cannot be loaded; the message says why and what to do about it."""


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """What a data set must look like, whichever source it comes from.

    ``source`` is "sklearn" (bundled with it), "idx" or "cifar" (files of that form, else TFDS);
    ``n_train`` and ``n_test`` are the standard numbers of images; ``mean`` and ``std`` are what is
    usually subtracted, and divided by, of pixels scaled to [0, 1]; the rest is as in ``Dataset``.
    """

    source: str
    image_shape: tuple[int, int, int]
    n_classes: int
    n_train: int
    n_test: int
    pixel_max: int = 255
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0


DATASETS: Mapping[str, DatasetSpec] = types.MappingProxyType(
    {
        "digits": DatasetSpec("sklearn", (8, 8, 1), 10, 1437, 360, pixel_max=16),
        "mnist": DatasetSpec("idx", (28, 28, 1), 10, 60000, 10000, mean=0.1307, std=0.3081),
        "fashion_mnist": DatasetSpec("idx", (28, 28, 1), 10, 60000, 10000),
        "cifar10": DatasetSpec("cifar", (32, 32, 3), 10, 50000, 10000,
                               mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    }
)

# NAME_holdout is the training set of NAME, its last sixth held out as the test set: what to choose
# settings on, so that the real test set has no part in it.
HOLDOUT = "_holdout"
NAMES = (*DATASETS, *(name + HOLDOUT for name in DATASETS))


TFDS = "tfds:"  # before a name of TensorFlow Datasets
FORMS = ("FILE.npz", "a folder of IDX files", "tfds:NAME", "package.module:function")


def word(name: str) -> str:
    """`name`, where it can be that of a data set; whether that exists, loading will show.

    Raises:
        DataError: it cannot.
    """
    base = str(name).removesuffix(HOLDOUT)
    a_path = base.endswith(".npz") or "/" in base or "\\" in base or base in (".", "..")
    if base in DATASETS or base.startswith(TFDS) or options.is_name(base) or a_path:
        return name
    hint = options.nearest(str(name).lower(), NAMES)
    raise DataError(
        f"unknown data set {name!r}{hint} (valid: {', '.join(DATASETS)}, {', '.join(FORMS)}, and "
        f"any with {HOLDOUT} behind it; a folder in this one is ./NAME)")


def label_of(name: str) -> str:
    """What people call it: of data of their own that have a path, its last part."""
    base = name.removesuffix(HOLDOUT)
    has_path = base not in DATASETS and not base.startswith(TFDS) and not options.is_name(base)
    return Path(name).name or name if has_path else name


@dataclasses.dataclass(frozen=True, eq=False)  # eq would compare arrays, which is ambiguous
class Dataset:
    """A loaded data set; the arrays are read-only.

    Attributes:
        name: as it was asked for.
        train_images, test_images: uint8 or float32 [n, height, width, channels], or [n, features].
        train_labels, test_labels: int32 [n], 0 .. outputs - 1, or float32 [n, outputs].
        outputs: number of classes, or of targets.
        low, high: the values that are scaled to 0 and 1: 0 and 255 (digits: 16) of uint8, else the
            smallest and the largest in training.
        mean, std: of the scaled training images, as usually stated; None: as measured.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    outputs: int
    low: float = 0.0
    high: float = 255.0
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(height, width, channels) of one image, or (features,)."""
        return self.train_images.shape[1:]

    @property
    def usual(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation that are usually taken: the stated ones, else the measured."""
        if self.mean is None:
            return self.measured
        return np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)

    @functools.cached_property
    def measured(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the scaled training images, by channel or feature."""
        axes = tuple(range(self.train_images.ndim - 1))
        scale = self.high - self.low
        # Sums in float64, without a copy of that type.
        mean = self.train_images.mean(axes, dtype=np.float64)
        std = self.train_images.std(axes, dtype=np.float64) / scale
        # What never differs stays as it is.
        return ((mean - self.low) / scale).astype(np.float32), np.where(
            std > 0, std, 1.0).astype(np.float32)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the arrays: another one, other data."""
        found = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            found.update(f"{array.dtype} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()[:20]
