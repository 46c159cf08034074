"""Networks by name, built from what a cell says of them."""

from collections.abc import Callable
from typing import Any

from qjax import networks

__all__ = ["NETWORKS", "SMALLEST", "network_label"]


def _gain(cell: Any) -> str:
    return "none" if cell.gain is None else cell.gain_rule


def _mlp(cell: Any, classes: int) -> networks.Network:
    widths = [cell.hidden_width] * (cell.n_layers + 1)
    return networks.mlp(widths, classes, _gain(cell))


def _lenet(cell: Any, classes: int) -> networks.Network:
    return networks.lenet(classes, _gain(cell))


def _residual(cell: Any, classes: int) -> networks.Network:
    return networks.residual(classes, _gain(cell))


def _recurrent(cell: Any, classes: int) -> networks.Network:
    return networks.recurrent(cell.hidden_width, classes, _gain(cell), cell.truncation or None)


# name -> (cell, classes) -> network
NETWORKS: dict[str, Callable[[Any, int], networks.Network]] = {
    "mlp": _mlp, "lenet": _lenet, "residual": _residual,
    "recurrent": _recurrent}
SMALLEST = {"lenet": 28, "residual": 8}  # side of the images that a network needs


def network_label(network: str, n_layers: int, width: int) -> str:
    """An MLP as the thesis writes it, (n_layers,width); others by their name, width if any."""
    return f"({n_layers},{width})" if network == "mlp" else f"{network} {width or ''}".rstrip()
