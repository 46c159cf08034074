"""Trains as aihwkit was once timed, for a comparison: 6,000 MNIST images, three epochs, tanh.

784-100-100-100-10, pixels from 0 to 1, batches of 64, plain gradient descent at a rate that stays,
digital biases, weights within +-1 / sqrt(fan-in) at first; test accuracy on all 10,000 images,
after every epoch. Devices and converters have the simulator's own numbers, and their noise. Beside
our means stands what the simulator had (aihwkit 1.1.0, one seed each).
"""

import csv
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import commandline
from experiments.commandline import options
from experiments.data import DataError, load
from experiments.report import Column, Table, markdown
from qjax import algorithms, devices, memories, training
from qjax.devices import Converters, Crossbar
from qjax.memories import Float, Pulsed, TikiTaka, by_leaf
from qjax.networks import Dense, identity, is_bias
from qjax.optimizers import OPTIMIZERS
from qjax.schedules import SCHEDULES

__all__ = ["CASES", "Case", "main", "train"]

IMAGES, BATCH = 6_000, 64
# Both of the simulator's own; it sends no error a second time.
CONVERTERS = Crossbar(Converters(), Converters(bound_management="none"))
_FAST = Pulsed(devices.SoftBounds(), counting="normal")


class Case(NamedTuple):
    """A training and what the simulator had in it.

    Attributes:
      memory: of the kernels.
      rate: learning rate.
      crossbar: converters; None: exact products.
      theirs: the simulator's test accuracies in percent after epochs 1, 2, 3.
    """

    memory: Any
    rate: float
    crossbar: Crossbar | None
    theirs: Sequence[float]


CASES: dict[str, Case] = {
    "floats, 0.05": Case(Float(), 0.05, None, (54.98, 80.27, 84.93)),
    "floats, 0.1": Case(Float(), 0.1, None, (75.63, 84.85, 87.86)),
    "soft bounds, 0.05": Case(_FAST, 0.05, CONVERTERS, (48.34, 68.61, 79.81)),
    "soft bounds, 0.1": Case(_FAST, 0.1, CONVERTERS, (66.29, 79.27, 82.53)),
    "soft bounds, 0.1, whole pulses": Case(
        replace(_FAST, counting="whole"), 0.1, CONVERTERS, (66.29, 79.27, 82.53)),
    # A transfer every 2 samples; fast_lr is 0.1 there, absolutely, and a factor on 0.1 here.
    "Tiki-Taka, 0.1": Case(
        TikiTaka(_FAST, Pulsed(devices.SoftBounds(), most=31), fast_lr=1.0, transfer_lr=1.0,
                 transfer_every=2 / BATCH, reading=Converters()),
        0.1, CONVERTERS, (74.71, 82.47, 86.28)),
}


def train(case: Case, data: training.Data, seeds: int, epochs: int = 3) -> np.ndarray:
    """Test accuracies in percent [epochs, seeds].

    Args:
      case: see there.
      data: raw images [n, 28, 28, 1] and labels.
      seeds: how many networks.
      epochs: passes over the images.
    """
    network = (*(Dense(100, activation=jnp.tanh) for _ in range(3)),
               Dense(10, activation=identity))
    rules = algorithms.Rules(OPTIMIZERS["sgd"](),
                             by_example=memories.takes_activity(case.memory))
    algorithm = algorithms.backprop(network, rules)
    (phase,) = algorithm.phases
    settings = algorithms.Settings(
        learning_rate=case.rate, schedule=SCHEDULES["constant"],
        memory=by_leaf((is_bias, Float()), case.memory), crossbar=case.crossbar)
    settings = jax.tree.map(lambda x: jnp.asarray(x)[None], settings)

    def pixels(images):
        return images.reshape(len(images), -1).astype(jnp.float32) / 255

    keys = jax.random.split(jax.random.key(0), seeds)
    states = training.make_init(algorithm, (BATCH, 784))(keys, settings)
    states = training.make_begin(phase)(settings, states)
    epoch = training.make_epoch(phase, batch_size=BATCH, shuffle=True, preprocess=pixels)
    found = []
    for number in range(epochs):
        turn = jax.random.split(jax.random.fold_in(jax.random.key(1), number), seeds)
        states, told = epoch(turn, number, settings, states, data)
        found.append(100 * np.asarray(told.test.accuracy)[:, 0])
    return np.stack(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = options.Parser(prog="experiments.simulator", description=__doc__)
    p.add_argument("--case", nargs="+", type=options.one_of(CASES), default=list(CASES),
                   help=f"of {'; '.join(CASES)} [all]")
    p.add_argument("--seeds", type=options.whole(1), default=5, help="networks of each [5]")
    p.add_argument("--images", type=options.whole(BATCH), default=IMAGES, help=f"[{IMAGES}]")
    p.add_argument("--data-dir", type=Path, default=None, help="as for experiments.run")
    p.add_argument("--csv", type=Path, default=None, help="file to write all accuracies to")
    args = p.parse_args(arguments)
    try:
        mnist = load("mnist", args.data_dir)
    except DataError as error:
        p.error(str(error))
    some = slice(args.images)
    data = training.Data(
        algorithms.Batch(jnp.asarray(mnist.train_images[some]),
                         jnp.asarray(mnist.train_labels[some])),
        algorithms.Batch(jnp.asarray(mnist.test_images), jnp.asarray(mnist.test_labels)))
    rows, lines = [], []
    for name in args.case:
        case = CASES[name]
        found = train(case, data, args.seeds)
        for number, accuracies in enumerate(found):
            lines += [(name, case.rate, number + 1, seed, f"{accuracy:.2f}", case.theirs[number])
                      for seed, accuracy in enumerate(accuracies)]
        spread = statistics.stdev(map(float, found[-1])) if args.seeds > 1 else 0.0
        rows.append((name, *map(float, found.mean(1)), spread, *case.theirs,
                     float(found[-1].mean()) - case.theirs[-1]))
    names = ("training, rate", "epoch 1", "2", "3", "± std", "aihwkit, epoch 1", "2", "3",
             "difference")
    print(markdown(Table("Test accuracy in percent", (f"Means over {args.seeds} seeds.",),
                         tuple(map(Column, names)), tuple(rows))))
    if args.csv:
        with args.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("case", "rate", "epoch", "seed", "test_accuracy", "aihwkit"))
            writer.writerows(lines)
    return 0


if __name__ == "__main__":
    commandline.run(main)
