"""CIFAR-10 in its binary version: records of a label and an image, red before green before blue.

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images" (2009).
"""

from pathlib import Path

import numpy as np

from experiments.data.datasets import FOLDER_VARIABLE, DataError, Parts

__all__ = ["from_binary"]

_SIDE, _CHANNELS = 32, 3
_RECORD = 1 + _SIDE * _SIDE * _CHANNELS
_FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_ARCHIVE = "cifar-10-batches-bin"  # the folder in the archive that is published


def from_binary(folder: Path) -> Parts:
    """{part: (images, labels, source, source)} of data_batch_1.bin ... 5, test_batch.bin."""
    inside = folder / _ARCHIVE
    folder = inside if inside.is_dir() else folder
    parts = {}
    for part, names in _FILES.items():
        images, labels = zip(*(_read(folder / name) for name in names), strict=True)
        source = f"{folder / names[0]}{' and others' if len(names) > 1 else ''}"
        parts[part] = (np.concatenate(images), np.concatenate(labels), source, source)
    return parts


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        raw = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}: expected CIFAR-10's binary version; give the "
            f"folder that holds cifar10/ with its six .bin files as --data-dir or {FOLDER_VARIABLE}"
            ", or neither, to use TensorFlow Datasets"
        ) from error
    if not raw.size or raw.size % _RECORD:
        raise DataError(f"{path}: {raw.size} bytes, expected a multiple of {_RECORD}: not the "
                        "binary version of CIFAR-10, or damaged; download or copy it again")
    records = raw.reshape(-1, _RECORD)
    images = records[:, 1:].reshape(-1, _CHANNELS, _SIDE, _SIDE)
    return images.transpose(0, 2, 3, 1), records[:, 0]
