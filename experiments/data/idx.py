"""IDX files, the format in which MNIST and its kin are published, alone or four in a folder."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from experiments.data.datasets import FOLDER_VARIABLE, PARTS, DataError, Parts

__all__ = ["from_folder", "read_idx"]


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


def from_folder(folder: Path) -> Parts:
    """{part: (images, labels, images file, labels file)} of the four IDX files in ``folder``."""
    parts = {}
    for part, prefix in PARTS.items():
        images_path = _find(folder / f"{prefix}-images-idx3-ubyte")
        labels_path = _find(folder / f"{prefix}-labels-idx1-ubyte")
        images = read_idx(images_path, ndim=3)[..., None]
        parts[part] = (images, read_idx(labels_path, ndim=1), images_path, labels_path)
    return parts


def _find(path: Path) -> Path:
    """``path`` or ``path``.gz, whichever exists."""
    zipped = path.with_name(path.name + ".gz")
    for candidate in (path, zipped):
        if os.path.exists(candidate):
            return candidate
    raise DataError(
        f"missing file: expected {path} or {zipped}; give the folder that holds "
        f"{path.parent.name}/ as --data-dir or {FOLDER_VARIABLE}, or neither, to use TensorFlow "
        "Datasets"
    )
