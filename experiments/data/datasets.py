"""The data sets that there are, by name, and what one looks like when it is loaded."""

import dataclasses
import types
from collections.abc import Mapping

import numpy as np

__all__ = [
    "DATASETS", "FOLDER_VARIABLE", "HOLDOUT", "NAMES", "PARTS", "DataError", "Dataset",
    "DatasetSpec", "Parts",
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
