"""Data of your own: an .npz file, a folder of IDX files of any shape, or a function.

A file and a function have the same keys: ``train_images``, ``train_labels``, ``test_images`` and
``test_labels``; or ``images`` and ``labels``, a sixth of which, drawn once and for all, is then the
test set. ``x_train`` and its kin, as Keras has them, will do.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from zipfile import BadZipFile

import numpy as np

from experiments.commandline import options
from experiments.data.datasets import PARTS, DataError, Parts
from experiments.data.idx import from_folder

__all__ = ["from_own"]

_KEYS = {f"{part}_{what}": f"{short}_{part}"
         for part in PARTS for what, short in (("images", "x"), ("labels", "y"))}


def from_own(name: str) -> Parts:
    """The parts of the data set that is the path, or the function, of that name.

    Raises:
        DataError: it is not there, cannot be read, or lacks something.
    """
    if options.is_name(name):
        return _parts(_call(name), f"{name}()")
    path = Path(name).expanduser()
    if path.is_dir():
        return from_folder(path, ndim=None)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file or folder: expected an .npz file with "
                        f"{', '.join(_KEYS)}, or images and labels; or a folder of IDX "
                        "files") from error
    except (OSError, ValueError, EOFError, TypeError, BadZipFile) as error:
        # TypeError: a lone .npy, which has no files
        raise DataError(f"{path}: not an .npz file of arrays ({error}): write one with "
                        f"numpy.savez(FILE, {'=..., '.join(_KEYS)}=...)") from error
    return _parts(arrays, str(path))


def _call(name: str) -> Any:
    try:
        function = resolve_name(name)
        inspect.signature(function).bind()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{name}: {error}: expected a function without arguments, "
                        "package.module:function, of a package that is installed or in this folder"
                        ) from error
    return function()


def _parts(given: Any, source: str) -> Parts:
    if not isinstance(given, Mapping):
        raise DataError(f"{source} gives {type(given).__name__}: expected a mapping with "
                        f"{', '.join(_KEYS)}")
    arrays = {key: np.asarray(given[key]) for key in given}
    arrays = {ours: arrays[other] for ours, other in _KEYS.items() if other in arrays} | arrays
    if "train_images" not in arrays and {"images", "labels"} <= arrays.keys():
        return _split(arrays["images"], arrays["labels"], source)
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        raise DataError(f"{source}: no {', '.join(missing)}, only {', '.join(given) or 'nothing'}: "
                        f"expected {', '.join(_KEYS)} (or {', '.join(_KEYS.values())}); or images "
                        "and labels, to be split")
    return {part: (arrays[f"{part}_images"], arrays[f"{part}_labels"],
                   f"{part}_images in {source}", f"{part}_labels in {source}") for part in PARTS}


def _split(images: np.ndarray, labels: np.ndarray, source: str) -> Parts:
    if images.ndim < 1 or labels.ndim < 1 or len(images) != len(labels) or len(images) < 2:
        raise DataError(f"{source}: images of shape {images.shape} and labels of shape "
                        f"{labels.shape}: expected as many of one as of the other, and at least 2")
    order = np.random.default_rng(0).permutation(len(labels))
    rows = dict(zip(PARTS, np.split(order, [-(-len(labels) * 5 // 6)]), strict=True))
    return {part: (images[some], labels[some], f"images in {source}", f"labels in {source}")
            for part, some in rows.items()}
