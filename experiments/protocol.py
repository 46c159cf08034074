"""The thesis's grid of cells and its epoch counts: what "the whole study" and "a full run" mean.

Source: F. J. Aparicio Martos, "Estudio de algoritmos de entrenamiento en redes neuronales
cuantificadas" (TFG, Universidad de Granada, 2022). Every combination of the names below with two
quantizers and two scopes is a cell (1344 in all), besides an unquantized network for each
algorithm, data set and architecture. The settings of an algorithm are in `experiments.presets`.
"""

from experiments.presets import preset_of

__all__ = [
    "ALGORITHMS", "ARCHITECTURES", "BITS", "DATASETS", "FLOAT_GRADIENT_BITS", "thesis_epochs",
]

ALGORITHMS = ("backprop", "fa", "dni", "hsic")
DATASETS = ("mnist", "fashion_mnist")
# (n_layers, hidden_width), in the order of the thesis's tables.
ARCHITECTURES = ((0, 4), (5, 20), (2, 100), (1, 100), (1, 50), (2, 50))
BITS = range(2, 9)
# Of the float networks: the thesis had 8 for dni, as its programs show; None is without.
FLOAT_GRADIENT_BITS = {"backprop": (None,), "fa": (None,), "dni": (None, 8), "hsic": (None,)}

_FLOAT_EPOCHS = 10


def thesis_epochs(algorithm: str, quantized: bool) -> tuple[int, ...]:
    """Epochs of each phase in the thesis: 30 (unquantized networks 10), for hsic always 30 + 20."""
    counts = tuple(phase.epochs for phase in preset_of(algorithm).phases)
    return counts if quantized or len(counts) > 1 else (_FLOAT_EPOCHS,)
