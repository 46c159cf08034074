"""The thesis's grid of cells and its epoch counts: what "the whole study" and "a full run" mean.

Source: F. J. Aparicio Martos, "Estudio de algoritmos de entrenamiento en redes neuronales
cuantificadas" (TFG, Universidad de Granada, 2022). Every combination of the names below with two
quantizers and two scopes is a cell (1344 in all), besides an unquantized network for each
algorithm, data set and architecture. Settings of an algorithm: `experiments.cells.presets`.
"""

import functools
import itertools
from collections.abc import Iterable
from dataclasses import replace

from experiments.cells import NONE, Cell, preset_of
from qjax.quantize import SCOPES

__all__ = [
    "ALGORITHMS", "ARCHITECTURES", "BITS", "DATASETS", "FLOAT_GRADIENT_BITS", "PARTS", "cells",
    "cells_of", "in_study", "thesis_epochs",
]

ALGORITHMS = ("backprop", "fa", "dni", "hsic")
DATASETS = ("mnist", "fashion_mnist")
# (n_layers, hidden_width), in the order of the thesis's tables.
ARCHITECTURES = ((0, 4), (5, 20), (2, 100), (1, 100), (1, 50), (2, 50))
_SHAPES = {f"{n},{width}": (n, width) for n, width in ARCHITECTURES}
PARTS = (*ALGORITHMS, *DATASETS, *_SHAPES)  # words that name a part of the study
BITS = range(2, 9)
QUANTIZERS = ("asymm", "symm")
# Of the float networks: the thesis had 8 for dni, as its programs show; None is without.
FLOAT_GRADIENT_BITS = {"backprop": (None,), "fa": (None,), "dni": (None, 8), "hsic": (None,)}

_FLOAT_EPOCHS = 10


def thesis_epochs(algorithm: str, quantized: bool) -> tuple[int, ...]:
    """Epochs of each phase in the thesis: 30 (unquantized networks 10), for hsic always 30 + 20."""
    counts = tuple(phase.epochs for phase in preset_of(algorithm).phases)
    return counts if quantized or len(counts) > 1 else (_FLOAT_EPOCHS,)


def cells_of(
    algorithm: str, dataset: str, n_layers: int, width: int, epochs: int | None = None
) -> list[Cell]:
    """28 quantized cells and the float network; for dni also that with 8-bit gradients.

    Args:
      algorithm, dataset, n_layers, width: which part of the study.
      epochs: most in a phase; None for the thesis's counts.
    """
    preset = preset_of(algorithm)
    first = preset.phases[0]

    def cell(n_bits=None, quantizer=NONE, scope=NONE, gradient_bits=None):
        quantized = n_bits is not None
        counts = thesis_epochs(algorithm, quantized)
        if epochs is not None:
            counts = tuple(min(epochs, count) for count in counts)
        train, readout = (*counts, 0)[:2]
        return Cell(
            algorithm, dataset, n_layers, width, n_bits, quantizer, scope,
            "nearest" if quantized else NONE, first.optimizer, first.lr, first.gamma,
            first.weight_decay, gradient_bits,
            preset.batch_size if quantized else preset.float_batch_size, train, readout,
        )

    floats = [cell(gradient_bits=bits) for bits in FLOAT_GRADIENT_BITS[algorithm]]
    return floats + [cell(*values) for values in itertools.product(BITS, QUANTIZERS, SCOPES)]


def cells(words: Iterable[str] = (), epochs: int | None = None) -> list[Cell]:
    """The study's cells, or those of a part.

    Args:
      words: algorithms, data sets and architectures ("2,100"); of a kind not mentioned, all.
      epochs: most in a phase; None for the thesis's counts.
    """
    words = set(words)

    def chosen(known):
        return [word for word in known if word in words] or list(known)

    found: list[Cell] = []
    for dataset, shape, algorithm in itertools.product(
        chosen(DATASETS), chosen(_SHAPES), chosen(ALGORITHMS)
    ):
        found += cells_of(algorithm, dataset, *_SHAPES[shape], epochs)
    return found


@functools.cache
def _study() -> frozenset[Cell]:
    parts = itertools.product(ALGORITHMS, DATASETS, ARCHITECTURES)
    return frozenset(replace(cell, epochs=0, readout_epochs=0)
                     for algorithm, dataset, shape in parts
                     for cell in cells_of(algorithm, dataset, *shape))


def in_study(cell: Cell) -> bool:
    """Is it a cell of the thesis's study, for however many epochs it was trained?"""
    return replace(cell, epochs=0, readout_epochs=0) in _study()
