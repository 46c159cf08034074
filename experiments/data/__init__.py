"""Data sets for the experiments, as NumPy arrays: images or features, classes or targets.

``load(name)`` is the whole interface. ``digits`` comes with scikit-learn and needs no network.
The others with a name come from files in a folder (``data_dir`` or ``QJAX_DATA_DIR``) when one is
named, and otherwise from TensorFlow Datasets, which is imported only then. Your own are a path,
``tfds:NAME``, or a function, ``package.module:function``.
"""

from experiments.data.datasets import (
    DATASETS,
    FORMS,
    HOLDOUT,
    NAMES,
    DataError,
    Dataset,
    DatasetSpec,
    label_of,
    word,
)
from experiments.data.idx import read_idx
from experiments.data.loading import has_targets, load, shape_of

__all__ = [
    "DATASETS", "FORMS", "HOLDOUT", "NAMES", "DataError", "Dataset", "DatasetSpec", "has_targets",
    "label_of", "load", "read_idx", "shape_of", "word",
]
