"""Trains every combination of the given values, grouped and batched, into a result store."""

import signal

if __name__ == "__main__":
    # The imports below take a second or two. There is nothing to lose yet: end without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import itertools
from collections.abc import Sequence

from experiments import cells as grid
from experiments import command, options, runner, sweep
from experiments.data import NAMES
from experiments.presets import LEARNING_RATES, preset_of
from qjax.algorithms import ALGORITHMS
from qjax.networks import GAINS
from qjax.quantize import KINDS, SCOPES
from qjax.schedules import SCHEDULES
from qjax.updates import OPTIMIZERS, UPDATE_RULES

__all__ = ["cells_of", "main", "parser"]


def parser() -> options.Parser:
    """The command line of `python -m experiments.run`."""
    p = options.Parser(prog="experiments.run", description=__doc__)
    axes = p.add_argument_group(
        "axes (one or several values each, [default]; all combinations are trained)"
    )

    def axis(flag, type, help, default=None, words=None):
        name = flag.strip("-").replace("-", "_")
        shown = "" if default is None else f" [{' '.join(options.spell(v, name) for v in default)}]"
        values = "{" + ",".join(words) + "}" if words else None
        axes.add_argument(
            flag, nargs="+", type=options.one_of(words) if words else type, default=default,
            metavar=values or name.upper(), help=help + shown,
        )

    axis("--algorithm", None, "learning algorithm", ["backprop"], words=ALGORITHMS)
    axis("--dataset", None, "data set; digits needs no network", ["digits"], words=NAMES)
    axis("--network", None, "mlp, or lenet for 28x28 images", ["mlp"], words=runner.NETWORKS)
    axis("--n-layers", options.whole(0), "mlp: hidden layers beyond the first", [1])
    axis("--hidden-width", options.whole(1), "mlp: units of every hidden layer", [50])
    axis("--n-bits", options.bits, "bits of the weights, 1-16 (symm: from 2), or float", [None])
    axis("--quantizer", None, "kind of grid", ["symm"], words=KINDS)
    axis("--scope", None, "range: [-1, 1] for all, or of each tensor", ["local"], words=SCOPES)
    axis("--update", None, "how an update reaches the grid", ["nearest"], words=UPDATE_RULES)
    axis("--bias", None, "may biases be floats", ["quantized"], words=["quantized", "float"])
    axis("--gain", options.positive_or_none, "products are multiplied by gain / sqrt(fan-in), "
         "weights start in [-1, 1]; none: by 1, weights start in +-1 / sqrt(fan-in)", [None])
    axis("--gain-rule", None, "with a gain: is it a constant or learned, one a layer", ["fixed"],
         words=GAINS[1:])
    axis("--synthesizer-lr", options.positive_or_none, "dni: synthesizers are floats with that "
         "learning rate; none: quantized, and trained like the weights", [None])
    axis("--optimizer", None, "optimizer [adadelta; hsic: sgd]", words=OPTIMIZERS)
    rates = ", ".join(f"{name} {rate:g}" for name, rate in LEARNING_RATES.items())
    axis("--lr", options.positive, f"learning rate [{rates}; hsic 1]")
    axis("--schedule", None, "how it falls", ["exponential"], words=SCHEDULES)
    axis("--gamma", options.positive, "factor on it per epoch, if exponential [0.7; hsic 1]")
    axis("--weight-decay", options.not_negative, "times the weights, added to their gradients "
         "[0; hsic 0.001]")
    axis("--gradient-bits", options.bits, "bits of parameter gradients (asymm local)", [None])
    axis("--batch-size", options.whole(1), "examples an update [64; hsic float 128]")

    p.add_argument("--seeds", type=options.whole(1), default=3, help="replicas of every cell [3]")
    p.add_argument("--first-seed", type=options.whole(0), default=0, help="seed of the first [0]")
    p.add_argument("--epochs", type=options.whole(1), default=10, help="passes over the data [10]")
    p.add_argument(
        "--readout-epochs", type=options.whole(1), default=5,
        help="epochs of the output layer where it is trained by itself (hsic) [5]",
    )
    sweep.add_arguments(p)
    return p


def cells_of(args) -> list[grid.Cell]:
    """The cells that parsed arguments ask for; what is not given comes from the presets."""
    cells = []
    for algorithm, n_bits in itertools.product(args.algorithm, args.n_bits):
        preset = preset_of(algorithm)
        first, *later = preset.phases
        batch_size = preset.float_batch_size if n_bits is None else preset.batch_size
        for optimizer in args.optimizer or [first.optimizer]:
            own = optimizer == first.optimizer
            cells += grid.product(
                {
                    "algorithm": [algorithm],
                    "dataset": args.dataset,
                    "n_layers": args.n_layers,
                    "hidden_width": args.hidden_width,
                    "n_bits": [n_bits],
                    "quantizer": args.quantizer,
                    "scope": args.scope,
                    "update": args.update,
                    "optimizer": [optimizer],
                    "lr": args.lr or [first.lr if own else LEARNING_RATES[optimizer]],
                    "schedule": args.schedule,
                    "gamma": args.gamma or [first.gamma],
                    "network": args.network,
                    "gain": args.gain,
                    "gain_rule": args.gain_rule,
                    "bias": args.bias,
                    "synthesizer_lr": args.synthesizer_lr,
                    "weight_decay": args.weight_decay or [first.weight_decay],
                    "gradient_bits": args.gradient_bits,
                    "batch_size": args.batch_size or [batch_size],
                    "epochs": [args.epochs],
                    "readout_epochs": [args.readout_epochs if later else 0],
                }
            )
    return list(dict.fromkeys(cells))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = parser()
    args = p.parse_args(arguments)
    if "symm" in args.quantizer and 1 in args.n_bits:
        p.error("symm needs at least 2 bits (1 leaves only the level zero): "
                "leave 1 out of --n-bits or symm out of --quantizer")
    if "learned" in args.gain_rule and not any(args.gain):
        p.error("--gain-rule learned needs a gain to start from: add --gain 1, for example")
    cells = cells_of(args)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    wanted = [grid.Replica(cell, seed) for cell in cells for seed in seeds]
    return sweep.main(p, args, lambda finished: wanted)


if __name__ == "__main__":
    command.run(main, sweep.leave)
