"""Numbers of a trained network: how it does on test images, and its weights on their levels.

Labels are as a data set has them: classes, integers [n], or targets, floats [n, k].
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cells import kinds, network_label
from experiments.data import Dataset
from experiments.report import scores
from qjax.losses import LOSSES
from qjax.saved import Trained
from qjax.training import EVALUATION_CHUNK
from qjax.trees import paths_of

__all__ = [
    "Layer", "are_classes", "check", "confusion", "first_images", "kernels", "layers",
    "loss_of", "name_of", "outputs_of", "probabilities", "score", "score_name", "shares",
    "tested_on", "worst",
]


class Layer(NamedTuple):
    """What a kernel's weights are like.

    Attributes:
      path: in the network's parameters.
      shape: of the kernel.
      weights: how many.
      used, levels: levels that any weight is on, of those there are; None: they are floats.
      at_zero: share of the weights that are zero.
      at_ends: share on the lowest or the highest level.
    """

    path: str
    shape: tuple[int, ...]
    weights: int
    used: int | None
    levels: int | None
    at_zero: float
    at_ends: float | None


# On a data set


def are_classes(labels: np.ndarray) -> bool:
    """Are they classes, and not targets?"""
    return labels.dtype.kind in "iu"


def outputs_of(trained: Trained, raw: np.ndarray) -> np.ndarray:
    """Outputs [n, k] for raw inputs [n, ...], in the batches in which a training evaluates.

    (What noise an example meets may depend on its batch.)
    """
    count = len(raw)
    chunk = min(EVALUATION_CHUNK, count)
    parts = [trained.predict(jnp.asarray(raw[np.arange(start, start + chunk) % count]))
             for start in range(0, count, chunk)]
    return np.concatenate(list(map(np.asarray, parts)))[:count].astype(np.float32)


def loss_of(trained: Trained) -> str:
    """The word for what its outputs were compared with."""
    return trained.about.get("config", {}).get("loss", "cross_entropy")


def score(outputs: np.ndarray, labels: np.ndarray, loss: str) -> float:
    """What results call accuracy, in percent: of a loss, one of `LOSSES`."""
    found: Any = LOSSES[loss]
    return 100 * float(found.score(found.hits(outputs, labels).sum(), labels))


def tested_on(trained: Trained) -> str:
    """What it was tested on, in a word."""
    return scores.scored([{"dataset": "", **trained.about.get("config", {})}]).on


def score_name(labels: np.ndarray, loss: str) -> str:
    """What the score is."""
    return "R²" if loss == "squared_error" and not are_classes(labels) else "accuracy"


def probabilities(outputs: np.ndarray, loss: str) -> np.ndarray:
    """Outputs [n, k] as probabilities, where the loss takes them for such; else as they are."""
    wide = outputs.astype(np.float64)
    if loss == "cross_entropy":
        powers = np.exp(wide - wide.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)
    return np.exp(-np.logaddexp(0, -wide)) if loss == "sigmoid" else wide


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts [classes, classes]: row, the true class; column, the predicted one."""
    places = labels.astype(np.int64) * classes + predicted
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def worst(likely: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Numbers of examples: of classes the wrong ones, the surest first; of targets the farthest.

    Args:
      likely: [n, k], as `probabilities` has them.
      labels: [n] classes, or [n, k] targets.
    """
    if not are_classes(labels):
        return np.argsort(-np.sum((likely - labels) ** 2, axis=-1), kind="stable")
    wrong = np.flatnonzero(likely.argmax(-1) != labels)
    return wrong[np.argsort(-likely[wrong].max(-1), kind="stable")]


# Weights


def check(trained: Trained, data: Dataset) -> None:
    """Refuses a network of which there is nothing to be seen with these data.

    Raises:
      ValueError: its inputs or outputs are others, or its weights are not finite.
    """
    if trained.about.get("data", data.fingerprint) != data.fingerprint:
        raise ValueError(f"{data.name} has changed since this network was trained on it: expected "
                         "the data of then")
    own = tuple(trained.inputs.shape), trained.about.get("outputs", data.outputs)
    if own != (data.image_shape, data.outputs):
        raise ValueError(
            f"{data.name} has inputs of shape {data.image_shape} and {data.outputs} outputs, where "
            f"the network has {own[0]} and {own[1]}: expected the data that it was trained on, "
            "which have changed since")
    leaves = jax.tree.leaves(trained.params)
    for path, leaf in zip(paths_of(trained.params), leaves, strict=True):
        if not np.isfinite(leaf).all():
            raise ValueError(f"weights of {path} are not finite: this training diverged; inspect "
                             "another network")


def kernels(trained: Trained) -> dict[str, np.ndarray]:
    """Every kernel by its path, in the order of the blocks."""
    leaves = jax.tree.leaves(trained.params)
    return {path: np.asarray(leaf, np.float32)
            for path, leaf in zip(paths_of(trained.params), leaves, strict=True)
            if path.rpartition("/")[2] == "kernel"}


def shares(codes: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Share of the weights on every level."""
    return np.bincount(codes.ravel(), minlength=len(levels)) / codes.size


def layers(trained: Trained) -> list[Layer]:
    """A line for every kernel."""
    found = []
    for path, kernel in kernels(trained).items():
        zero, used, ends, count = float(np.mean(kernel == 0)), None, None, None
        if path in trained.codes:
            codes, levels = trained.codes[path]
            each, count = shares(codes, levels), len(levels)
            used = int(np.count_nonzero(each))
            ends = float(each[0] + each[-1]) if count > 1 else 1.0
        found.append(Layer(path, kernel.shape, kernel.size, used, count, zero, ends))
    return found


def first_images(trained: Trained) -> tuple[str, np.ndarray] | str:
    """The first kernel's path, and it as images [units, height, width, channels]; or why not."""
    shape = tuple(trained.inputs.shape)
    if len(shape) != 3:
        return f"inputs of shape {shape} are no images"
    path, kernel = next(iter(kernels(trained).items()), ("", np.zeros(0)))
    if kernel.ndim == 2 and kernel.shape[0] == math.prod(shape):
        return path, kernel.T.reshape(-1, *shape)
    if kernel.ndim == 4 and kernel.shape[2] == shape[2]:
        return path, np.moveaxis(kernel, -1, 0)
    return (f"{f'{path} of shape {kernel.shape}' if path else 'nothing'} multiplies inputs of shape"
            f" {shape}: expected a dense or a convolutional kernel")


# In words


def name_of(trained: Trained) -> str:
    """The training in few words, for titles."""
    config: Mapping[str, Any] = trained.about.get("config", {})
    words = [config[name] for name in ("algorithm", "dataset") if name in config]
    if "network" in config:
        words.append(network_label(*(config[name] for name in (
            "network", "n_layers", "hidden_width"))))
    words = [Path(word).name if "/" in word else word for word in words]
    if "n_bits" in config:
        words.append(kinds.held_label(*(config[name] for name in (
            "n_bits", "quantizer", "scope", "update"))))
    if "seed" in trained.about:
        words.append(f"seed {trained.about['seed']}")
    return ", ".join(words) or "a network"
