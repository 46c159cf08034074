"""The thesis's settings per algorithm: data, not branches in code. Defaults of the command line.

Source: F. J. Aparicio Martos, "Estudio de algoritmos de entrenamiento en redes neuronales
cuantificadas" (TFG, Universidad de Granada, 2022).
"""

from dataclasses import dataclass, replace

__all__ = ["LEARNING_RATES", "OWN_RATE", "PhasePreset", "Preset", "preset_of"]


@dataclass(frozen=True)
class PhasePreset:
    """Optimizer and numbers of one phase; `epochs` is the thesis's count for quantized networks."""

    epochs: int
    optimizer: str = "adadelta"
    lr: float = 1.0
    gamma: float = 0.7
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Preset:
    """An algorithm's phases and how its data arrive.

    Attributes:
      phases: in order.
      shuffle: a new order of the training set every epoch.
      normalize: subtract the data set's mean and divide by its deviation.
      batch_size, float_batch_size: of quantized and of unquantized networks.
      synthesizers: are there any, trained beside the network?
      cuts: does it cut sequences?
    """

    phases: tuple[PhasePreset, ...]
    shuffle: bool = True
    normalize: bool = True
    batch_size: int = 64
    float_batch_size: int = 64
    synthesizers: bool = False
    cuts: bool = False


_COMMON = Preset((PhasePreset(30),))

_SYNTHETIC = replace(_COMMON, synthesizers=True)

_BOTTLENECK = Preset(
    (
        PhasePreset(30, optimizer="sgd", lr=1.0, gamma=1.0, weight_decay=1e-3),
        PhasePreset(20),
    ),
    shuffle=False,
    normalize=False,
    float_batch_size=128,
)

_OWN = {
    "dni": _SYNTHETIC,
    "dni_linear": _SYNTHETIC,
    "dni_conv": _SYNTHETIC,
    "dni_quiet": _SYNTHETIC,
    "dni_unconditional": _SYNTHETIC,
    "dni_inputs": _SYNTHETIC,
    "dni_time": replace(_SYNTHETIC, cuts=True),
    "tbptt": replace(_COMMON, cuts=True),
    "hsic": _BOTTLENECK,
    "hsic_sigmas": _BOTTLENECK,
    "hsic_unformatted": replace(_BOTTLENECK, phases=_BOTTLENECK.phases[:1]),
}

# Where --optimizer is given without --lr: the usual starting points.
LEARNING_RATES = {"adadelta": 1.0, "adam": 1e-3, "momentum": 0.01, "normalized": 1e-3,
                  "balanced": 1e-3, "factored": 1e-3, "sgd": 0.1, "sign": 1e-3}

OWN_RATE = 1e-3  # of an optimizer of one's own


def preset_of(algorithm: str) -> Preset:
    """The algorithm's own settings, or those that the thesis used for all others."""
    return _OWN.get(algorithm, _COMMON)
