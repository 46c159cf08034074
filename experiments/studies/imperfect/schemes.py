"""Measured devices, and the schemes that are made for devices like them.

A scheme has numbers of its own, without which it is not what its authors mean: some of them are
tried, on held-out data, with every rate. Devices of one direction are used in pairs.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.cells import Cell, kinds, product
from experiments.studies.imperfect.grid import base, rates_for
from qjax.devices import PRESETS

__all__ = ["DEVICES", "OF_PAIRS", "ONE_WAY", "PLAIN", "SCHEMES", "Scheme", "device_of", "tried_on"]

DEVICES = tuple(PRESETS)
ONE_WAY = ("pcm",)  # steps up only
PLAIN = "plain"


class Scheme(NamedTuple):
    """How gradients get to the devices.

    Attributes:
      word: the memory, with the device's name at {}.
      rates: to choose from.
      numbers: to choose from, as cells have them.
      unscaled: rates to choose from without a gain, where weights start small; none: always with.
      schedules: of the rate, to choose from.
    """

    word: str
    rates: Sequence[float]
    numbers: Sequence[str]
    unscaled: Sequence[float] = ()
    schedules: Sequence[str] = ("linear",)


_UNSCALED = (0.03, 0.1, 0.3)
_TRANSFERS = ("transfer_every=0.2 transfer_bl=10", "transfer_every=0.05 transfer_bl=10")
_CHOPPED = tuple(f"auto_scale=1 fast_lr={rate} {every}"
                 for rate in (1, 3, 10) for every in _TRANSFERS)
_UNCHOPPED = tuple(f"fast_lr={rate} {every}" for rate in (30, 100, 300) for every in _TRANSFERS)

SCHEMES: Mapping[str, Scheme] = {
    PLAIN: Scheme("{}", (1.0, 3.0, 10.0), ("",), _UNSCALED),
    "mixed_precision": Scheme("mixed_precision:{}", (1.0, 3.0, 10.0), ("",), _UNSCALED),
    "tiki_taka": Scheme("tiki_taka:{}", (1.0, 3.0), _UNCHOPPED),
    # What it has learnt fades in the last epoch of a rate that falls to zero.
    "ttv2": Scheme("ttv2:{}", (1.0, 3.0), _UNCHOPPED, schedules=("linear", "constant")),
    "cttv2": Scheme("cttv2:{}", (1.0, 3.0), _CHOPPED),
    "agad": Scheme("agad:{}", (1.0, 3.0), _CHOPPED),
}
_REFRESHES = ("refresh_every=100", "refresh_every=1000")
OF_PAIRS: Mapping[str, Scheme] = {
    PLAIN: SCHEMES[PLAIN]._replace(word="one_sided:{}", numbers=_REFRESHES),
    "mixed_precision": SCHEMES["mixed_precision"]._replace(
        word="mixed_precision:one_sided:{}", numbers=_REFRESHES),
}


def _scheme_for(name: str, device: str) -> Scheme | None:
    return OF_PAIRS.get(name) if device in ONE_WAY else SCHEMES[name]


def tried_on(
    algorithm: str, device: str, scheme: str, dataset: str, gains: Sequence[float | None],
    epochs: int, rates: Sequence[float] = (), synthesizer_rates: Sequence[float] = (),
) -> list[Cell]:
    """Cells on held-out data, of which the best is the device's; none: the scheme is not for it.

    Args:
      algorithm, device, scheme: names.
      dataset: without "_holdout".
      gains, epochs: of the trials; without a gain only by schemes that have rates for that.
      rates: to choose from; none: the scheme's.
      synthesizer_rates: dni's, likewise.
    """
    about = _scheme_for(scheme, device)
    if about is None:
        return []
    word = about.word.format(device)
    numbers = [kinds.own_numbers(word, text) for text in about.numbers]
    cells: list[Cell] = []
    for gain in gains:
        usual = about.unscaled if gain is None else about.rates
        if not usual:
            continue
        axes = base([algorithm], dataset, rates or rates_for(algorithm, usual), [gain], epochs,
                    synthesizer_rates)
        cells += product(axes | {"update": [word], "numbers": numbers,
                                 "schedule": list(about.schedules)})
    return cells


def device_of(cell: Cell) -> tuple[str, str] | None:
    """(device, scheme) of a cell of this study; None of others."""
    for device in DEVICES:
        for scheme in SCHEMES:
            about = _scheme_for(scheme, device)
            if about and cell.update == about.word.format(device) and cell.optimizer == "sgd":
                known = {kinds.own_numbers(cell.update, text) for text in about.numbers}
                return (device, scheme) if cell.numbers in known else None
    return None
