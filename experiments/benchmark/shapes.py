"""The networks that are timed: what products a step of each needs."""

import itertools
from typing import NamedTuple

__all__ = ["CLASSES", "FEATURES", "Shape", "product_flops"]

FEATURES, CLASSES = 784, 10
# LeNet-5's layers on 28x28 images: positions of the kernel, inputs and outputs of each.
_LENET = ((784, 25, 6), (100, 150, 16), (1, 400, 120), (1, 120, 84), (1, 84, CLASSES))


class Shape(NamedTuple):
    """A network of the benchmark; numbers as cells have them."""

    n_layers: int = 2
    hidden_width: int = 100
    network: str = "mlp"
    batch_size: int = 64

    @property
    def products(self) -> list[tuple[int, int, int]]:
        """Of every layer: how often its matrix is used on an example, inputs, outputs."""
        if self.network == "lenet":
            return list(_LENET)
        if self.network == "recurrent":  # rows of 28 are steps
            return [(28, 28, self.hidden_width), (28, self.hidden_width, self.hidden_width),
                    (1, self.hidden_width, CLASSES)]
        sizes = [FEATURES, *[self.hidden_width] * (self.n_layers + 1), CLASSES]
        return [(1, inputs, outputs) for inputs, outputs in itertools.pairwise(sizes)]


def product_flops(shape: Shape) -> int:
    """Of one step: forward, weight gradient, and input gradient of all layers but the first."""
    layers = [2 * shape.batch_size * count * a * b for count, a, b in shape.products]
    return 3 * sum(layers) - layers[0]
