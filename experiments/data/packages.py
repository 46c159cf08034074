"""Data sets that other packages bring, which are imported only when one is asked for."""

import contextlib
import importlib.util
import io
import os
import sys
from pathlib import Path

import numpy as np

from experiments.data.datasets import (
    DATASETS,
    FOLDER_VARIABLE,
    PARTS,
    DataError,
    DatasetSpec,
    Parts,
)

__all__ = ["from_sklearn", "from_tfds"]

_EXTRA = "pip install -e '.[experiments]'"


def from_sklearn(spec: DatasetSpec) -> Parts:
    """digits, with a split that is fixed for all time: scikit-learn itself has none."""
    images, labels = _digits()
    order = np.random.default_rng(0).permutation(len(labels))
    source = "scikit-learn load_digits()"
    return {
        part: (images[rows][..., None], labels[rows], source, source)
        for part, rows in zip(PARTS, np.split(order, [spec.n_train]), strict=True)
    }


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """(images [n, 8, 8] of 0 to 16, labels [n]).

    Out of scikit-learn's file, where it lies as ever: importing the package takes a second, more
    than half of what the smallest run does.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None:
        raise DataError(f"digits needs scikit-learn, not installed here: {_EXTRA}")
    file = Path(package.origin or "").parent / "datasets" / "data" / "digits.csv.gz"
    if not file.is_file():
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return bunch.images, bunch.target
    table = np.loadtxt(file, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(int)


def from_tfds(name: str) -> Parts:
    """The data set as TensorFlow Datasets prepares it, downloaded if it is not there yet.

    Its training and test parts; of those that have no test part it is the validation part.
    """
    offline = (
        f"Without a network, give a folder with {name}/ and the original files in it as --data-dir "
        f"or in {FOLDER_VARIABLE}" if name in DATASETS else
        "It needs a network, or an earlier download in TFDS_DATA_DIR"
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
            if not builder.is_prepared():
                print(f"{name}: TensorFlow Datasets is to download it (it tries again for minutes "
                      f"if it cannot). {offline}.", file=sys.stderr, flush=True)
            builder.download_and_prepare()
        keys = builder.info.supervised_keys
        if not keys:
            raise DataError(f"TensorFlow Datasets' {name} does not say what is input and label: "
                            "load it in a function of your own, package.module:function")
        parts = {}
        for part in PARTS:
            known = [split for split in (part, "validation") if split in builder.info.splits]
            if not known:
                raise DataError(f"TensorFlow Datasets' {name} has no part {part!r}, only "
                                f"{', '.join(builder.info.splits)}: load it in a function of your "
                                "own, package.module:function")
            split = tfds.as_numpy(builder.as_dataset(known[0], batch_size=-1))
            source = f"TensorFlow Datasets {known[0]} split in {builder.data_path}"
            parts[part] = (split[keys[0]], split[keys[1]], source, source)
        return parts
    except ImportError as error:  # also what TFDS imports only when it is used
        raise DataError(
            f"{name} without a data folder needs tensorflow-datasets and tensorflow, and an "
            f"import failed ({error}): {_EXTRA}. {offline}"
        ) from error
    except tfds.core.DatasetNotFoundError as error:
        raise DataError(f"TensorFlow Datasets has no {name!r}: its catalogue lists what it has"
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
