"""Loads a data set, wherever it comes from, and checks that it is what its name says."""

import dataclasses
import difflib
import os
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.datasets import (
    DATASETS,
    FOLDER_VARIABLE,
    HOLDOUT,
    NAMES,
    DataError,
    Dataset,
)
from experiments.data.idx import from_folder
from experiments.data.packages import from_sklearn, from_tfds

__all__ = ["load"]


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
    folder = data_dir if data_dir is not None else os.environ.get(FOLDER_VARIABLE) or None
    if spec.source == "sklearn":
        parts = from_sklearn(spec)
    elif folder is not None:
        parts = from_folder(Path(folder).expanduser() / name)
    else:
        parts = from_tfds(name)
    arrays: dict[str, Any] = {}
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
