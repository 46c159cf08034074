"""The study of imperfect devices: an ideal one, and what can be wrong with it, one at a time.

The ideal device steps by the same amount everywhere, 1,000 times from -1 to 1, like all others. It
is trained by plain gradient descent, whose pulses are those of every example; biases are floats.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from experiments.cells import AXES, NONE, Cell, kinds, preset_of, product
from experiments.data import HOLDOUT
from experiments.store import results
from experiments.studies.lowbit import TUNING_SEED

__all__ = ["ALGORITHMS", "IMPERFECTIONS", "Imperfection", "base", "cells_of", "chosen",
           "found_in", "ideals", "plain", "rates_for", "tolerance"]

ALGORITHMS = ("backprop", "usf", "fa", "dfa", "kp", "dni_linear", "hsic")
STEP = 0.002
_IDEAL = {"dw_min": STEP, "dw_min_dtod": 0, "dw_min_std": 0, "up_down_dtod": 0, "w_max": 1,
          "w_min": -1, "w_max_dtod": 0, "w_min_dtod": 0}


class Imperfection(NamedTuple):
    """What can be wrong.

    Attributes:
      label: with its unit, for axes.
      values: to be tried, from harmless to bad.
      of: value -> (memory, its numbers, other axes).
      spell: value -> what stands at its place.
    """

    label: str
    values: Sequence[float]
    of: Callable[[float], tuple[str, dict[str, float], dict[str, Any]]]
    spell: Callable[[float], str] = "{:g}".format


def _number(*names: str, times: float = 1.0, memory: str = "constant_step") -> Callable:
    return lambda value: (memory, dict.fromkeys(names, value * times), {})


_TIMES: Mapping[float, str] = {
    60: "1 min", 3600: "1 h", 86400: "1 day", 2592000: "30 days", 31536000: "1 year"}

IMPERFECTIONS: Mapping[str, Imperfection] = {
    "asymmetry": Imperfection("steps down smaller than steps up by (share)",
                              (0.03, 0.1, 0.2, 0.4, 0.6), _number("up_down")),
    "nonlinearity": Imperfection("loss of a step on the way to the bound (share)",
                                 (0.1, 0.3, 0.6, 1.0),
                                 lambda value: ("linear_step", {
                                     "gamma_up": value, "gamma_down": value, "gamma_up_dtod": 0,
                                     "gamma_down_dtod": 0}, {})),
    "step_spread": Imperfection("deviation of steps between devices (share)",
                                (0.1, 0.3, 0.6, 1.0), _number("dw_min_dtod")),
    "bound_spread": Imperfection("deviation of bounds between devices (share)",
                                 (0.1, 0.3, 0.6, 1.0), _number("w_max_dtod", "w_min_dtod")),
    "cycle_noise": Imperfection("deviation of a step from cycle to cycle (steps)",
                                (0.3, 1.0, 3.0, 10.0), _number("dw_min_std")),
    "write_noise": Imperfection("deviation of what is shown after a write (of a range of 2)",
                                (0.03, 0.1, 0.3, 1.0),
                                _number("write_noise_std", times=1 / STEP)),
    "stuck": Imperfection("stuck devices (share)", (0.01, 0.03, 0.1, 0.3),
                          lambda value: ("constant_step", {
                              "corrupt_devices_prob": value, "corrupt_devices_range": 1.0}, {})),
    "states": Imperfection("steps from -1 to 1", (300, 100, 30, 10, 4),
                           lambda value: ("constant_step:whole", {"dw_min": 2 / value}, {})),
    "converters": Imperfection("bits of converters, of inputs and outputs, both ways",
                               (8, 7, 6, 5, 4, 3),
                               lambda value: ("constant_step", {}, dict.fromkeys(
                                   ("dac_bits", "adc_bits", "error_dac_bits", "error_adc_bits"),
                                   int(value)))),
    "read_noise": Imperfection("deviation of what comes back from an array (of the largest input)",
                               (0.03, 0.1, 0.3, 1.0),
                               lambda value: ("constant_step", {}, {"read_noise": value})),
    "retention": Imperfection("time from training to test; drift by time^-(0.05 ± 0.025)",
                              tuple(_TIMES),
                              lambda value: ("constant_step", {"nu": 0.05, "nu_dtod": 0.5},
                                             {"wait": float(value)}),
                              lambda value: _TIMES[value]),
}


# dni's linear synthesizers learn by plain gradient descent, too, and blow up at others' rates.
_RATES = {"dni_linear": (0.03, 0.1)}
_SYNTHESIZERS = (1e-4, 3e-4, 1e-3)
_OTHERS = (0.3, 1.0, 3.0, 10.0)


def rates_for(algorithm: str, others: Sequence[float]) -> Sequence[float]:
    """The rates that suit an algorithm: its own, or those of most."""
    return _RATES.get(algorithm, others)


def base(
    algorithms: Iterable[str], dataset: str, rates: Sequence[float],
    gains: Sequence[float | None], epochs: int, synthesizer_rates: Sequence[float] = ()
) -> dict[str, list]:
    """Values of all axes of cells on held-out data, but of what holds the weights."""
    return {name: list(about.given or [None]) for name, about in AXES.items()} | {
        "algorithm": list(algorithms), "dataset": [dataset + HOLDOUT], "n_layers": [2],
        "hidden_width": [100], "n_bits": [None], "optimizer": ["sgd"], "lr": list(rates),
        "gamma": [1.0], "weight_decay": [0.0], "batch_size": [64], "epochs": [epochs],
        "readout_epochs": [epochs], "schedule": ["linear"], "gain": list(gains),
        "bias": ["float"], "synthesizer_lr": list(synthesizer_rates or _SYNTHESIZERS),
    }


def ideals(
    algorithms: Iterable[str], dataset: str, rates: Sequence[float], gains: Sequence[float | None],
    epochs: int, synthesizer_rates: Sequence[float] = ()
) -> list[Cell]:
    """Cells on ideal devices and held-out data, among which rate and gain are chosen.

    Args:
      algorithms: names.
      dataset: without "_holdout".
      rates: to choose from; none: what suits the algorithm.
      gains, synthesizer_rates: likewise; the latter are dni's.
      epochs: of the trials.
    """
    cells = []
    for name in algorithms:
        own = rates or rates_for(name, _OTHERS)
        axes = base([name], dataset, own, gains, epochs, synthesizer_rates)
        cells += product(axes | {"update": ["constant_step"], "numbers": [_written(_IDEAL)]})
    return cells


def _written(numbers: Mapping[str, float]) -> str:
    return " ".join(f"{name}={float(numbers[name])!r}" for name in sorted(numbers))


def chosen(
    tried: Iterable[Cell], finished: Iterable[Mapping[str, Any]], epochs: int
) -> list[Cell]:
    """Of every algorithm and memory the cell with the best held-out accuracy, on all data."""
    known = {}
    for cell, rows in results.by_cell(r for r in finished if r["seed"] >= TUNING_SEED).items():
        known[cell] = sum(r["test_accuracy"] or 0.0 for r in rows) / len(rows)
    best: dict[tuple[str, str], Cell] = {}
    for cell in tried:
        held = best.get((cell.algorithm, cell.update))
        if cell in known and (held is None or known[cell] > known[held]):
            best[cell.algorithm, cell.update] = cell
    return [replace(cell, dataset=cell.dataset.removesuffix(HOLDOUT), epochs=epochs,
                    readout_epochs=epochs if len(preset_of(cell.algorithm).phases) > 1 else 0)
            for cell in best.values()]


def cells_of(ideal: Cell, names: Iterable[str]) -> list[Cell]:
    """The ideal cell, then all that can be wrong with it."""
    found = [ideal]
    for name in names:
        about = IMPERFECTIONS[name]
        for value in about.values:
            memory, numbers, more = about.of(value)
            told = kinds.own_numbers(memory, _written(_IDEAL | numbers))
            found.append(replace(ideal, update=memory, numbers=told, **more))
    return found


_SIGNATURE = ("update", "numbers", "dac_bits", "adc_bits", "error_dac_bits", "error_adc_bits",
              "read_noise", "wait")


def plain(cell: Cell) -> Cell:
    """The cell on ideal devices."""
    return replace(cell, update="constant_step", read_noise=0.0, wait=0.0, dac_bits=None,
                   adc_bits=None, error_dac_bits=None, error_adc_bits=None,
                   numbers=kinds.own_numbers("constant_step", _written(_IDEAL)))


def found_in(cell: Cell) -> tuple[str, float] | None:
    """(imperfection, value) of a cell of this study; ("ideal", 0); None of others."""
    if cell.update == NONE:
        return None
    own = tuple(getattr(cell, name) for name in _SIGNATURE)
    for name in ("ideal", *IMPERFECTIONS):
        values = (0.0,) if name == "ideal" else IMPERFECTIONS[name].values
        others = cells_of(plain(cell), [] if name == "ideal" else [name])
        others = others if name == "ideal" else others[1:]
        for value, other in zip(values, others, strict=True):
            if own == tuple(getattr(other, column) for column in _SIGNATURE):
                return name, value
    return None


def tolerance(
    ideal: float, accuracies: Mapping[float, float], lost: float = 2.0
) -> tuple[float | None, float | None]:
    """(last value that loses less, first that loses as much) points of accuracy.

    Args:
      ideal: accuracy without the imperfection, in percent.
      accuracies: by value, from harmless to bad.
      lost: points.

    Returns:
      None for the first: all lose so much; for the second: none does.
    """
    last = None
    for value, accuracy in accuracies.items():
        if ideal - accuracy >= lost:
            return last, value
        last = value
    return last, None
