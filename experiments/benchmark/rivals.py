"""How long others take for a step: PyTorch, one network or many at once, and the simulator aihwkit.

The strongest rival is what one writes in PyTorch for a sweep: parameters of all networks stacked,
gradients by `torch.func`, the whole step through `torch.compile`, with all of torch's threads.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

from experiments.benchmark.breakdown import BATCH, CLASSES, FEATURES, shortest

__all__ = ["simulator_step_ms", "torch_ensemble_step_ms", "torch_step_ms"]

# Our memories, and what is the same in aihwkit: its devices, alone or as the two of a compound.
_SIMULATED = {
    "constant_step": "ConstantStepDevice", "linear_step": "LinearStepDevice",
    "soft_bounds": "SoftBoundsDevice", "soft_bounds_reference": "SoftBoundsReferenceDevice",
    "exp_step": "ExpStepDevice", "pow_step": "PowStepDevice",
    "tiki_taka": "TransferCompound", "ttv2": "BufferedTransferCompound",
}


def _network(n_layers: int, hidden_width: int, linear: Callable) -> list[Any]:
    """Layers with ReLUs between them; `linear`: (inputs, outputs) -> layer."""
    from torch.nn import ReLU

    sizes = [FEATURES, *[hidden_width] * (n_layers + 1), CLASSES]
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (linear(a, b), ReLU())]
    return layers[:-1]


def _timed(steps: int, step: Callable) -> float:
    """Milliseconds of `step`, (images, labels) of a batch, in epochs of random images."""
    import torch

    images = torch.rand(steps * BATCH, FEATURES)
    labels = torch.randint(0, CLASSES, (steps * BATCH,))

    def epoch():
        for rows in torch.randperm(len(images)).split(BATCH):
            step(images[rows], labels[rows])

    return 1e3 * shortest({"epoch": epoch}, 3)["epoch"] / steps


def torch_step_ms(n_layers: int, hidden_width: int, steps: int = 200) -> float | None:
    """A hand-written PyTorch loop of backprop with the same settings; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    torch.manual_seed(0)
    network = torch.nn.Sequential(*_network(n_layers, hidden_width, torch.nn.Linear))
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0, rho=0.9, eps=1e-6)

    def step(images, labels):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        with torch.no_grad():
            for p in network.parameters():
                scale = 127 / p.abs().max()
                p.mul_(scale).round_().div_(scale)

    return _timed(steps, step)


def torch_ensemble_step_ms(
    n_layers: int, hidden_width: int, replicas: int, steps: int = 45
) -> float | None:
    """A step of so many stacked networks, for each of them; same work as `torch_step_ms`.

    All see the same batch, as networks of one seed do here. None without torch, or where it cannot
    compile (it needs a C++ compiler).
    """
    try:
        import torch
    except ImportError:
        return None
    torch.manual_seed(0)
    sizes = [FEATURES, *[hidden_width] * (n_layers + 1), CLASSES]
    shapes = [shape for a, b in itertools.pairwise(sizes) for shape in ((b, a), (b,))]
    fans = [a for a in sizes[:-1] for _ in range(2)]
    params = [torch.empty(replicas, *shape).uniform_(-(fan**-0.5), fan**-0.5)
              for shape, fan in zip(shapes, fans, strict=True)]
    held = [params, *([torch.zeros_like(p) for p in params] for _ in range(2))]

    def loss(params, x, labels):
        for number in range(0, len(params), 2):
            x = torch.relu(x) if number else x
            x = torch.nn.functional.linear(x, *params[number : number + 2])
        return torch.nn.functional.cross_entropy(x, labels)

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(0, None, None))

    def updated(params, squares, deltas, x, labels):
        new: list[list[Any]] = [[], [], []]
        for p, square, delta, g in zip(
            params, squares, deltas, gradients(params, x, labels), strict=True
        ):
            square = 0.9 * square + 0.1 * g * g
            change = g * torch.sqrt((delta + 1e-6) / (square + 1e-6))
            delta = 0.9 * delta + 0.1 * change * change
            p = p - change
            scale = 127 / p.abs().amax(dim=tuple(range(1, p.ndim)), keepdim=True)
            for kept, value in zip(new, (torch.round(p * scale) / scale, square, delta),
                                   strict=True):
                kept.append(value)
        return new

    compiled = torch.compile(updated)

    def step(images, labels):
        nonlocal held
        with torch.no_grad():
            held = compiled(*held, images, labels)

    try:
        step(torch.rand(BATCH, FEATURES), torch.randint(0, CLASSES, (BATCH,)))
    except RuntimeError:  # what its compiler raises is one
        return None
    return _timed(steps, step) / replicas


def simulator_step_ms(
    memory: str, converters: bool, n_layers: int, hidden_width: int, steps: int = 60
) -> float | None:
    """A step of aihwkit's analog network, backprop; None without it, or without such a device.

    As its users write it: `AnalogSequential` and `AnalogSGD`, with torch's own number of threads;
    converters and their noise are its defaults.
    """
    if memory not in _SIMULATED:
        return None
    try:
        import torch
        from aihwkit.nn import AnalogLinear, AnalogSequential
        from aihwkit.optim import AnalogSGD
        from aihwkit.simulator import configs
    except ImportError:
        return None
    torch.manual_seed(0)
    device = getattr(configs, _SIMULATED[memory])
    if "Compound" in _SIMULATED[memory]:
        pair = [configs.SoftBoundsDevice(), configs.SoftBoundsDevice()]
        rpu = configs.UnitCellRPUConfig(device=device(unit_cell_devices=pair))
    else:
        rpu = configs.SingleRPUConfig(device=device())
    for way in (rpu.forward, rpu.backward):
        way.is_perfect = not converters
    network = AnalogSequential(*_network(
        n_layers, hidden_width, functools.partial(AnalogLinear, bias=True, rpu_config=rpu)))
    optimizer = AnalogSGD(network.parameters(), lr=0.1)
    optimizer.regroup_param_groups(network)

    def step(images, labels):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return _timed(steps, step)
