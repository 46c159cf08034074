"""Image data sets for the experiments: digits, MNIST and Fashion-MNIST as NumPy arrays.

``load(name)`` is the whole interface. ``digits`` comes with scikit-learn and needs no network.
The others come from IDX files in a folder (``data_dir`` or ``QJAX_DATA_DIR``) when one is named,
and otherwise from TensorFlow Datasets, which is imported only then.
"""

from experiments.data.datasets import DATASETS, HOLDOUT, NAMES, DataError, Dataset, DatasetSpec
from experiments.data.idx import read_idx
from experiments.data.loading import load

__all__ = [
    "DATASETS", "HOLDOUT", "NAMES", "DataError", "Dataset", "DatasetSpec", "load", "read_idx",
]
