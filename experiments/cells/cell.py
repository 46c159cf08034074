"""Cells: points of the grid that a sweep trains, with an axis for everything but the seed."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace

from experiments.cells.axes import axis, axis_of
from experiments.cells.kinds import (
    NONE,
    More,
    bits_of,
    combinations,
    converter_bits,
    dataset,
    described,
    drifts,
    has_hidden,
    has_levels,
    hidden_bits,
    hidden_of,
    memory,
    optimizer_bits,
    optional_numbers,
    own_numbers,
    program_of,
    quantizer,
    setting,
)
from experiments.cells.networks import NETWORKS, network_label
from experiments.cells.own import ALGORITHM, NETWORK, OPTIMIZER, word_of
from experiments.cells.presets import LEARNING_RATES, preset_of
from experiments.commandline.options import (
    bits,
    fraction,
    not_negative,
    positive,
    positive_or_none,
    share,
    whole,
)
from experiments.data import FORMS, NAMES, label_of
from qjax.algorithms import ALGORITHMS
from qjax.losses import LOSSES
from qjax.memories import MEMORIES
from qjax.networks import GAINS
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import KINDS, SCOPES
from qjax.schedules import SCHEDULES

__all__ = [
    "AXES", "DEFAULTS", "NONE", "UNQUANTIZED", "USUAL", "Cell", "by_flag", "product",
]

USUAL = "usual"  # of `Cell.normalize`


def _is_quantized(cell: "Cell") -> bool:
    return cell.n_bits is not None and has_levels(cell.update)


def _is_held(cell: "Cell") -> bool:
    return cell.n_bits is not None or not has_levels(cell.update)


def _is_hidden(cell: "Cell") -> bool:
    return _is_quantized(cell) and has_hidden(cell.update)


def _is_mlp(cell: "Cell") -> bool:
    return cell.network == "mlp"


def _has_width(cell: "Cell") -> bool:
    return cell.network in ("mlp", "recurrent")


def _is_cut(cell: "Cell") -> bool:
    own = ":" in cell.algorithm  # which may cut
    return cell.network == "recurrent" and (own or preset_of(cell.algorithm).cuts)


def _has_readout(cell: "Cell") -> bool:
    return len(preset_of(cell.algorithm).phases) > 1


def _has_synthesizers(cell: "Cell") -> bool:
    return ":" in cell.algorithm or preset_of(cell.algorithm).synthesizers


@dataclass(frozen=True)
class Cell:
    """Full configuration of a training run except its seed: an axis of the grid each.

    The order is that of the results, for ever: a new axis goes last, with the value that all older
    results have as its default (see `axes.axis`).
    """

    algorithm: str = axis("learning algorithm", word_of(ALGORITHM), words=ALGORITHMS,
                          given=["backprop"])
    dataset: str = axis(f"data set; digits needs no network; your own: {', '.join(FORMS)}", dataset,
                        words=NAMES, given=["digits"])
    n_layers: int = axis("mlp: hidden layers beyond the first", whole(0), given=[1],
                         only=_is_mlp, off=0)
    hidden_width: int = axis("mlp, recurrent: units of every hidden layer", whole(1), given=[50],
                             only=_has_width, off=0)
    n_bits: int | None = axis("bits of the weights, 1-16 (symm: from 2, pow2: 2-7), or float", bits,
                              given=[None], number=None, only=_is_quantized, off=None,
                              settle=lambda cell: bits_of(cell.quantizer, cell.n_bits))
    quantizer: str = axis("kind of grid; levels:-1:-0.3:0.3:1 or levels:FILE for a list of levels",
                          quantizer, words=KINDS, given=["symm"], blank=program_of,
                          only=_is_quantized, off=NONE)
    scope: str = axis("range: [-1, 1] for all, or of each tensor", words=SCOPES, given=["local"],
                      number=NONE, only=_is_quantized, off=NONE)
    update: str = axis(f"what holds the weights. {described()}", memory, words=MEMORIES,
                       flags=["--memory", "--update"], given=["nearest"], only=_is_held, off=NONE)
    optimizer: str = axis("optimizer", word_of(OPTIMIZER), words=OPTIMIZERS,
                          shown="adadelta; hsic: sgd",
                          preset=lambda preset, quantized: preset.phases[0].optimizer)
    lr: float = axis("learning rate", positive, number=1.0,
                     shown=f"{', '.join(f'{k} {v:g}' for k, v in LEARNING_RATES.items())}; hsic 1",
                     preset=lambda preset, quantized: preset.phases[0].lr, tuned=True)
    gamma: float = axis("factor on the learning rate per epoch, if exponential", positive,
                        number=0.0, shown="0.7; hsic 1",
                        preset=lambda preset, quantized: preset.phases[0].gamma,
                        only=lambda cell: cell.schedule == "exponential", off=1.0, tuned=True)
    weight_decay: float = axis("times the weights, added to their gradients", not_negative,
                               number=0.0, shown="0; hsic 0.001",
                               preset=lambda preset, quantized: preset.phases[0].weight_decay,
                               tuned=True)
    gradient_bits: int | None = axis("bits of parameter gradients (asymm local)", bits,
                                     given=[None], number=1)
    batch_size: int = axis("examples an update", whole(1), shown="64; hsic float 128",
                           preset=lambda preset, quantized: (
                               preset.batch_size if quantized else preset.float_batch_size),
                           tuned=True)
    epochs: int = axis("passes over the data", whole(1), given=[10])
    readout_epochs: int = axis("epochs of the output layer where it is trained by itself (hsic)",
                               whole(1), given=[5], only=_has_readout, off=0)
    schedule: str = axis("how the learning rate falls", words=SCHEDULES, default="exponential",
                         given=["exponential"], number="exponential", tuned=True)
    gain: float | None = axis(
        "products are multiplied by gain / sqrt(fan-in), weights start in [-1, 1]; none: by 1, "
        "weights start in +-1 / sqrt(fan-in)", positive_or_none, default=None, given=[None],
        number=1.0, tuned=True)
    bias: str = axis("may biases be floats", words=["quantized", "float"], default="quantized",
                     given=["quantized"], only=_is_held, off="quantized")
    network: str = axis("all but mlp are for images; recurrent takes them row by row",
                        word_of(NETWORK), words=NETWORKS, default="mlp", given=["mlp"])
    gain_rule: str = axis("with a gain: is it a constant or learned, one a layer",
                          words=GAINS[1:], default="fixed", given=["fixed"],
                          only=lambda cell: cell.gain is not None, off="fixed")
    synthesizer_lr: float | None = axis(
        "dni: synthesizers are floats with that learning rate; none: quantized, and trained like "
        "the weights", positive_or_none, default=None, given=[None], number=1.0,
        only=_has_synthesizers, off=None, tuned=True)
    label_smoothing: float = axis("share of a label that goes to all classes alike, in training",
                                  share, default=0.0, given=[0.0], number=0.0, tuned=True)
    numbers: str = axis("numbers of the memory, NAME=VALUE[,VALUE] each", setting, default="",
                        flags=["--set"], given=[""], blank=optional_numbers,
                        shown="the memory's own",
                        expand=combinations, only=_is_held, off="",
                        settle=lambda cell: own_numbers(cell.update, cell.numbers))
    hidden_bits: int | None = axis(
        "hidden, counter: bits of the weight behind the visible levels, +N for N more than these "
        "have, or float", hidden_bits, default=None, given=[More(2)], blank=lambda value: None,
        shown="+2", only=_is_hidden, off=None,
        settle=lambda cell: hidden_of(cell.n_bits, cell.hidden_bits))
    optimizer_bits: int | None = axis(
        "2-7: bits of every number that the optimizer keeps, powers of two of the largest of its "
        "tensor, rounded at random; or float", optimizer_bits, default=None, given=[None],
        number=2)
    threshold: float = axis(
        "entries of the optimizer's direction for kernels that are below it count as zero",
        not_negative, default=0.0, given=[0.0], number=0.0, tuned=True)
    dac_bits: int | None = axis(
        "2-16: bits of inputs on their way to an array, of each example's largest; or float",
        converter_bits, default=None, given=[None], number=2)
    adc_bits: int | None = axis(
        "2-16: bits of what comes back, within +-12 times that; or float", converter_bits,
        default=None, given=[None], number=2)
    error_dac_bits: int | None = axis("the same of errors on their way down", converter_bits,
                                      default=None, given=[None], number=2)
    error_adc_bits: int | None = axis("and of what comes back of them", converter_bits,
                                      default=None, given=[None], number=2)
    read_noise: float = axis(
        "deviation of what comes back from an array, up or down, in units of the largest input",
        not_negative, default=0.0, given=[0.0],
        blank=lambda value: float(value > 0))
    wait: float = axis(
        "seconds from the end of the training to the last test, in which devices drift "
        "(--set nu=0.05)", not_negative, default=0.0, given=[0.0], number=0.0,
        only=lambda cell: drifts(cell.update, cell.numbers), off=0.0)
    loss: str = axis(
        "what outputs are compared with: classes (the accuracy is the share of right ones), "
        "targets (100 R^2), or several labels, 0 or 1 each (the share of right ones)",
        words=LOSSES, default="cross_entropy", given=["cross_entropy"])
    normalize: str = axis(
        "inputs: less their mean, over their deviation, in training, by channel or feature; from "
        "0 to 1; as they are; usual: mean-std, with published numbers where there are any (digits, "
        "fashion_mnist and hsic: unit)",
        words=[USUAL, "mean-std", "unit", "none"], default=USUAL, given=[USUAL])
    bp_lambda: float = axis(
        "dni: share of the error from above in what blocks learn from, the rest being their "
        "synthesizers': 0 is dni, 1 backpropagation (but for the guessed inputs of dni_inputs)",
        fraction, default=0.0, given=[0.0], number=0.0, only=_has_synthesizers, off=0.0,
        tuned=True)
    truncation: int = axis("tbptt, dni_time: steps after which a sequence is cut", whole(1),
                           default=0, given=[7], only=_is_cut, off=0)

    @property
    def program(self) -> "Cell":
        """The cell with all that is only a number blanked: equal programs share a group."""
        blanked = {name: about.blank(getattr(self, name)) for name, about in AXES.items()
                   if about.blank}
        return replace(self, **blanked)

    @property
    def label(self) -> str:
        """Algorithm, data set and network in few words, for tables and progress bars."""
        shape = network_label(self.network, self.n_layers, self.hidden_width)
        return f"{self.algorithm} {label_of(self.dataset)} {shape}"


# What was said of every axis, by name.
AXES = {f.name: axis_of(f) for f in fields(Cell)}
_FLAGS = {flag: name for name, about in AXES.items()
          for flag in about.flags or ["--" + name.replace("_", "-")]}
# Axes that say nothing of an unquantized network, with what they are set to there.
UNQUANTIZED = {name: about.off for name, about in AXES.items()
               if name != "n_bits" and about.only in (_is_quantized, _is_held, _is_hidden)}
# Of the axes that came later.
DEFAULTS = {f.name: f.default for f in fields(Cell) if f.default is not MISSING}


def by_flag(text: str) -> str:
    """The axis that --TEXT sets, 'memory' for one: 'update'; else the text itself."""
    return _FLAGS.get("--" + text, text)


def product(
    axes: Mapping[str, Sequence], adapt: Callable[[Cell], Cell] = lambda cell: cell
) -> list[Cell]:
    """All combinations of the axes' values, one cell each, in order, without repeats.

    Args:
      axes: a sequence of values for every field of `Cell`; the last one's values change first.
      adapt: cell -> cell, applied first.

    Where an axis says nothing (`Axis.only`) it has one value: combinations that differ in it alone
    are one cell.
    """
    missing = [name for name in AXES if name not in axes]
    if missing:
        raise KeyError(f"no values for {', '.join(missing)}")
    cells: dict[Cell, None] = {}
    for values in itertools.product(*axes.values()):
        cell = adapt(Cell(**dict(zip(axes, values, strict=True))))
        settled = {name: about.settled(cell, name) for name, about in AXES.items()}
        cells[replace(cell, **settled)] = None
    return list(cells)
