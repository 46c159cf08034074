"""Image data sets by name, as NumPy arrays."""

from experiments.data.loading import (
    DATASETS,
    HOLDOUT,
    NAMES,
    DataError,
    Dataset,
    DatasetSpec,
    load,
    read_idx,
)

__all__ = [
    "DATASETS", "HOLDOUT", "NAMES", "DataError", "Dataset", "DatasetSpec", "load", "read_idx",
]
