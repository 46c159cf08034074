"""Loads a data set, wherever it comes from, and checks that it is what its name says."""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.cifar import from_binary
from experiments.data.datasets import (
    DATASETS,
    FOLDER_VARIABLE,
    HOLDOUT,
    TFDS,
    DataError,
    Dataset,
    Parts,
    word,
)
from experiments.data.idx import from_folder
from experiments.data.own import from_own
from experiments.data.packages import from_sklearn, from_tfds

__all__ = ["has_targets", "load", "shape_of"]

_SPARSE = 10  # times as many numbers of classes as there are classes: they do not count them
_FROM_FOLDER = {"idx": from_folder, "cifar": from_binary}  # by `DatasetSpec.source`


def load(name: str, data_dir: str | os.PathLike | None = None) -> Dataset:
    """Loads a data set by name.

    Args:
        name: one of ``NAMES``; or the path of an .npz file or of a folder of IDX files (see
            `own`), ``tfds:NAME`` or ``package.module:function``, each also with _holdout behind.
        data_dir: for those of ``NAMES`` a folder with ``<name>/train-images-idx3-ubyte`` and the
            three files beside it, each plain or with ``.gz`` (cifar10: data_batch_1.bin and the
            other five). None: the environment variable QJAX_DATA_DIR, and if that is unset or
            empty too, TensorFlow Datasets (in its own folder, TFDS_DATA_DIR). A folder may hold
            fewer images than the standard data set. digits uses no folder.

    Returns:
        The data set. Files keep their order; TFDS has another, fixed one, because it shuffles
        the examples when it prepares them.

    Raises:
        DataError: unknown name, missing or damaged file, contents that are not this data set,
            a package that is not installed, or a failed download.
    """
    word(name)
    spec = DATASETS.get(name.removesuffix(HOLDOUT))
    return _bundled(name) if spec and spec.source == "sklearn" else _loaded(name, data_dir)


@functools.cache
def _bundled(name: str) -> Dataset:
    """What comes with a package is always the same: programs made for it serve again."""
    return _loaded(name, None)


def _loaded(name: str, data_dir: str | os.PathLike | None) -> Dataset:
    if name.endswith(HOLDOUT):
        return _hold_out(load(name.removesuffix(HOLDOUT), data_dir))
    if name in DATASETS:
        return _standard(name, data_dir)
    parts = from_tfds(name.removeprefix(TFDS)) if name.startswith(TFDS) else from_own(name)
    return _own(name, parts)


def _standard(name: str, data_dir: str | os.PathLike | None) -> Dataset:
    spec = DATASETS[name]
    folder = data_dir if data_dir is not None else os.environ.get(FOLDER_VARIABLE) or None
    if spec.source == "sklearn":
        parts = from_sklearn(spec)
    elif folder is not None:
        parts = _FROM_FOLDER[spec.source](Path(folder).expanduser() / name)
    else:
        parts = from_tfds(name)
    for part, (images, labels, *sources) in parts.items():
        limit = spec.n_train if part == "train" else spec.n_test
        _check_sizes(images, labels, sources[0], sources[1], limit)
        if images.shape[1:] != spec.image_shape:
            raise DataError(
                f"{sources[0]}: images of shape {images.shape[1:]}, expected {spec.image_shape}: "
                "check that these files belong to this data set")
        _check_classes(labels, spec.n_classes, sources[1])
    return _dataset(name, parts, np.uint8, np.int32, outputs=spec.n_classes,
                    high=float(spec.pixel_max), mean=spec.mean, std=spec.std)


def _own(name: str, parts: Parts) -> Dataset:
    """A data set of any shape; what its labels are, those for training say."""
    images, labels = parts["train"][:2]
    targets = labels.dtype.kind == "f"
    for own_images, own_labels, *sources in parts.values():
        _check_arrays(own_images, own_labels, images, targets, *sources)
    pictures = all(own.dtype == np.uint8 for own, *_ in parts.values())
    outputs = (1 if labels.ndim == 1 else labels.shape[1]) if targets else int(labels.max()) + 1
    if not targets:
        if outputs < 2:
            raise DataError(f"{parts['train'][3]}: all are 0, expected 2 classes or more, from 0")
        for _, own_labels, _, source in parts.values():
            _check_classes(own_labels, outputs, source)
        low = min(int(own_labels.min()) for _, own_labels, *_ in parts.values())
        if low > 0:
            raise DataError(f"{parts['train'][3]}: labels from {low} to {labels.max()}, expected "
                            f"classes counted from 0: write labels - {low}")
        present = len(set().union(*(np.unique(own_labels) for _, own_labels, *_ in parts.values())))
        if present * _SPARSE < outputs:
            raise DataError(f"{parts['train'][3]}: only {present} classes with labels from 0 to "
                            f"{labels.max()}: expected them counted without such gaps: write "
                            "numpy.unique(labels, return_inverse=True)[1], of the labels for "
                            "training and test together")
    scale = {} if pictures else {"low": float(images.min()), "high": float(images.max())}
    if scale and scale["low"] == scale["high"]:
        raise DataError(f"{parts['train'][2]}: all values are {scale['low']:g}")
    return _dataset(name, parts, np.uint8 if pictures else np.float32,
                    np.float32 if targets else np.int32, outputs=outputs, **scale)


def _dataset(name: str, parts: Parts, images_type: type, labels_type: type, **about: Any
             ) -> Dataset:
    arrays: dict[str, Any] = {}
    for part, (images, labels, *_) in parts.items():
        arrays[f"{part}_images"] = _with_channel(np.asarray(images, images_type))
        labels = np.asarray(labels, labels_type)
        targets = labels_type == np.float32
        arrays[f"{part}_labels"] = labels.reshape(len(labels), -1) if targets else labels
    for array in arrays.values():
        array.setflags(write=False)  # as arrays read from IDX files are anyway
    return Dataset(name=name, **arrays, **about)


def _with_channel(images: np.ndarray) -> np.ndarray:
    return images[..., None] if images.ndim == 3 else images


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


def shape_of(name: str) -> tuple[tuple[int, ...], int] | None:
    """(shape of an image, outputs) of a data set; None where it is not at hand."""
    known = _about(name.removesuffix(HOLDOUT))
    return known and known[:2]


def has_targets(name: str) -> bool | None:
    """Are the labels of a data set targets, floats, and no classes? None: it is not at hand."""
    known = _about(name.removesuffix(HOLDOUT))
    return known and known[2]


@functools.lru_cache(maxsize=64)
def _about(name: str) -> tuple[tuple[int, ...], int, bool] | None:
    """(shape of an image, outputs, has it targets?) of a data set that is at hand."""
    if name in DATASETS:
        return DATASETS[name].image_shape, DATASETS[name].n_classes, False
    if name.startswith(TFDS):  # too slow to ask
        return None
    try:
        data = load(name)
    except DataError:
        return None
    return data.image_shape, data.outputs, data.train_labels.dtype.kind == "f"


def _check_sizes(images, labels, images_source, labels_source, limit=None):
    """Raises DataError unless there are as many images as labels, at least one, at most `limit`."""
    if len(images) != len(labels):
        raise DataError(
            f"{len(images)} images in {images_source} but {len(labels)} labels in "
            f"{labels_source}: expected as many of one as of the other"
        )
    if not len(images) or (limit is not None and len(images) > limit):
        most = "at least 1" if limit is None else f"1 to {limit}"
        raise DataError(f"{images_source}: {len(images)} images, expected {most}")


def _check_classes(labels, n_classes, source):
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        raise DataError(f"{source}: labels from {low} to {high}, expected 0 to {n_classes - 1}")


def _check_arrays(images, labels, first, targets, images_source, labels_source):
    """Raises DataError unless a part of one's own is numbers, of one shape, with labels."""
    if images.dtype.kind not in "uif" or not 2 <= images.ndim <= 4:
        raise DataError(
            f"{images_source}: {images.dtype} of shape {images.shape}, expected numbers [n, "
            "features], [n, height, width] or [n, height, width, channels]")
    if labels.dtype.kind not in "uif" or labels.ndim not in ((1, 2) if targets else (1,)):
        raise DataError(
            f"{labels_source}: {labels.dtype} of shape {labels.shape}, expected classes, integers "
            "[n] from 0, or targets, floats [n, outputs]")
    _check_sizes(images, labels, images_source, labels_source)
    if images.shape[1:] != first.shape[1:]:
        raise DataError(f"{images_source}: shape {images.shape[1:]}, but training images have "
                        f"{first.shape[1:]}: expected the same")
    if (labels.dtype.kind == "f") != targets:
        raise DataError(f"{labels_source}: {labels.dtype}, but training labels are "
                        f"{'floats' if targets else 'integers'}: expected the same")
    for array, source in ((images, images_source), (labels, labels_source)):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"{source}: not all of it is finite: leave out, or fill in, what is nan"
                            " or infinite")
