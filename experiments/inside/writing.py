"""Everything that is seen of one network, as files in a folder."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from experiments.data import Dataset
from experiments.inside import attributions, numbers, pictures
from experiments.report import Column, Table, as_csv, look
from qjax.saved import Trained

__all__ = ["Written", "write"]

_MISTAKES, _ATTRIBUTED, _FEWEST, _UNITS = 24, 12, 4, 64  # in pictures
_AVERAGED = 500  # test examples whose attributions are averaged


class Written(NamedTuple):
    """What there is now.

    Attributes:
      files: all that were written.
      left_out: a line for each that was not, with the reason.
      layers: of every kernel, what its weights are like.
      score: on the test examples, in percent.
    """

    files: tuple[Path, ...]
    left_out: tuple[str, ...]
    layers: tuple[numbers.Layer, ...]
    score: float


def write(
    trained: Trained, data: Dataset, folder: Path, steps: int = 50, most: int | None = None
) -> Written:
    """Writes all pictures and numbers that this network and its data set have.

    Args:
      trained: the network.
      data: what it was trained on, see `numbers.check`.
      folder: is made.
      steps: of integrated gradients.
      most: examples in a picture; None: as many as look well.

    Raises:
      OSError: the folder cannot be written to.
    """
    outputs = numbers.outputs_of(trained, data.test_images)
    loss, name = numbers.loss_of(trained), numbers.name_of(trained)
    score = numbers.score(outputs, data.test_labels, loss)
    likely = numbers.probabilities(outputs, loss)
    folder.mkdir(parents=True, exist_ok=True)
    to = _To(folder, [], [])
    what = f"{numbers.tested_on(trained)} {numbers.score_name(data.test_labels, loss)}"
    title = f"{name}\n{what} {score:.1f} %"
    if numbers.are_classes(data.test_labels):
        _confusion(to, data, likely, title)
    else:
        to.left_out.append("confusion: labels are targets, not classes; targets.png has them")
        to.draw("targets", pictures.draw_targets(likely, data.test_labels, title))
    _mistakes(to, data, likely, name, "output" if loss == "squared_error" else "probability", most)
    _weights(to, trained, name)
    _attributions(to, trained, data, likely, name, steps, most)
    return Written(tuple(to.files), tuple(to.left_out), tuple(numbers.layers(trained)), score)


class _To(NamedTuple):
    """Where files go, and what has been said of them."""

    folder: Path
    files: list[Path]
    left_out: list[str]

    def draw(self, stem: str, figure: Figure) -> None:
        """A picture."""
        self.files.extend(look.save(figure, self.folder, stem, ("png",)))

    def table(self, stem: str, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        """A CSV file."""
        path = self.folder / f"{stem}.csv"
        table = Table(stem, (), tuple(map(Column, names)), tuple(rows))
        path.write_text(as_csv(table), encoding="utf-8")
        self.files.append(path)

    def arrays(self, stem: str, arrays: dict[str, Any]) -> None:
        """An .npz file."""
        path = self.folder / f"{stem}.npz"
        np.savez_compressed(path, **arrays)
        self.files.append(path)


def _confusion(to: _To, data: Dataset, likely: np.ndarray, title: str) -> None:
    counts = numbers.confusion(data.test_labels, likely.argmax(-1), likely.shape[-1])
    to.draw("confusion", pictures.draw_confusion(counts, title))
    names = ("true", *(f"predicted_{number}" for number in range(len(counts))))
    to.table("confusion", names, [(true, *row) for true, row in enumerate(counts.tolist())])


def _mistakes(to: _To, data: Dataset, likely: np.ndarray, name: str, what: str,
              most: int | None) -> None:
    found = numbers.worst(likely, data.test_labels)
    labels, some = data.test_labels, found[: most or _MISTAKES]
    if numbers.are_classes(labels):
        own = likely.argmax(-1)
        names: tuple[str, ...] = ("example", "true", "predicted", what, f"{what}_of_true")
        rows = [(int(i), int(labels[i]), int(own[i]), float(likely[i, own[i]]),
                 float(likely[i, labels[i]])) for i in found]
        told = "{:.2%}".format if what == "probability" else "{:.3g}".format
        captions = [f"true {labels[i]}, predicted {own[i]}\n{told(likely[i, own[i]])}"
                    for i in some]
        title = (f"{name}\nthe {len(some)} surest of {len(found)} mistakes in {len(labels)} test "
                 f"examples, with the {what} of what is predicted")
    else:
        pairs = [f"{what}_{k}" for k in range(labels.shape[1]) for what in ("target", "predicted")]
        names = ("example", *pairs)
        rows = [(int(i), *np.stack([labels[i], likely[i]], -1).ravel().tolist()) for i in found]
        captions = [f"target {_numbers(labels[i])}\npredicted {_numbers(likely[i])}" for i in some]
        title = f"{name}\nthe {len(some)} predictions, of {len(labels)}, that are farthest off"
    to.table("mistakes", names, rows)
    if not len(found):
        to.left_out.append("mistakes.png: the network makes none")
        return
    to.draw("mistakes", pictures.draw_examples(
        _shown(data, some), captions, (data.low, data.high), title + _units(data)))


def _shown(data: Dataset, some: np.ndarray) -> np.ndarray:
    """Test examples as they are drawn: images as they are, features on one scale."""
    raw = data.test_images[some]
    if raw.ndim > 2:
        return raw
    deviation = data.train_images.std(0, dtype=np.float64)
    mean = data.train_images.mean(0, dtype=np.float64)
    return (raw - mean) / np.where(deviation > 0, deviation, 1.0)


def _units(data: Dataset) -> str:
    return "" if len(data.image_shape) > 1 else "; features in deviations from their mean"


def _numbers(values: np.ndarray) -> str:
    """The first three."""
    return ", ".join(f"{value:.2g}" for value in values[:3]) + ", ..." * (len(values) > 3)


def _weights(to: _To, trained: Trained, name: str) -> None:
    kernels = numbers.kernels(trained)
    if not kernels:
        to.left_out.append("weights, layers, first-layer: no parameter is called kernel")
        return
    to.draw("weights", pictures.draw_weights(kernels, trained.codes, name))
    arrays = {f"{path}/weights": kernel for path, kernel in kernels.items()}
    for path in kernels.keys() & trained.codes.keys():
        arrays[f"{path}/codes"], arrays[f"{path}/levels"] = trained.codes[path]
    to.arrays("layers", dict(sorted(arrays.items())))
    first = numbers.first_images(trained)
    if isinstance(first, str):
        to.left_out.append(f"first-layer.png: {first}")
    else:
        to.draw("first-layer", pictures.draw_first(*first, _UNITS, name))


def _attributions(to: _To, trained: Trained, data: Dataset, likely: np.ndarray, name: str,
                  steps: int, most: int | None) -> None:
    classes = numbers.are_classes(data.test_labels)
    # Of classes the predicted one; of several targets each in turn.
    which = likely.argmax(-1) if classes else np.arange(len(likely)) % likely.shape[-1]
    averaged = np.arange(min(_AVERAGED, len(which)))
    shown = attributions.examples(
        which, most or max(_FEWEST, min(likely.shape[-1], _ATTRIBUTED)))
    rows = np.unique(np.concatenate([averaged, shown]))
    baseline = attributions.baseline_of(data)
    found = attributions.attribute(trained, data.test_images[rows], which[rows], baseline, steps)
    some = np.isin(rows, averaged)
    means = attributions.mean_sizes(found.values[some], which[rows[some]], likely.shape[-1])
    counts = np.bincount(which[averaged], minlength=likely.shape[-1])
    places = np.searchsorted(rows, shown)
    to.arrays("attribution", {
        "example": shown, "images": data.test_images[shown], "labels": data.test_labels[shown],
        "output": which[shown], "attributions": found.values[places],
        "outputs": found.outputs[places], "outputs_at_baseline": found.starts[places],
        "gaps": found.gaps[places], "baseline": baseline, "steps": steps,
        "mean_absolute": means, "mean_absolute_count": counts})
    if classes:
        captions = [f"true {data.test_labels[i]}, predicted {which[i]}" for i in shown]
    else:
        captions = [f"target {which[i]}: {data.test_labels[i, which[i]]:.2g},\npredicted "
                    f"{likely[i, which[i]]:.2g}" for i in shown]
    known = np.flatnonzero(counts)[:_ATTRIBUTED]
    word, of = ("predicted", "output that is predicted") if classes else (
        "target", "target named, each in turn")
    start = "a black image" if len(data.image_shape) == 3 else "the features' means in training"
    to.draw("attribution", pictures.draw_attributions(
        _shown(data, shown), found.values[places], captions, means[known],
        [f"{word} {number} ({counts[number]})" for number in known], (data.low, data.high),
        f"{name}\nintegrated gradients of the {of}, from {start}, in {steps} steps{_units(data)}"))
    if trained.crossbar is not None:
        to.left_out.append("converters, in attributions: they round in steps, which have no "
                           "gradient")
