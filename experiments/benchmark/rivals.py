"""How long others take for a step: PyTorch, one network or many at once, and the simulator aihwkit.

The strongest rival is what one writes in PyTorch for a sweep: parameters of all networks stacked,
gradients by `torch.func`, the whole step through `torch.compile`, with all of torch's threads.
"""

from collections.abc import Callable, Sequence
from typing import Any

from experiments.benchmark.breakdown import shortest
from experiments.benchmark.shapes import CLASSES, FEATURES, Shape

__all__ = ["simulator_step_ms", "torch_ensemble_step_ms", "torch_step_ms"]

# Our memories, and what is the same in aihwkit: its devices, alone or as the two of a compound.
_SIMULATED = {
    "constant_step": "ConstantStepDevice", "linear_step": "LinearStepDevice",
    "soft_bounds": "SoftBoundsDevice", "soft_bounds_reference": "SoftBoundsReferenceDevice",
    "exp_step": "ExpStepDevice", "pow_step": "PowStepDevice",
    "tiki_taka": "TransferCompound", "ttv2": "BufferedTransferCompound",
}


def _parameters(shape: Shape) -> list[tuple[int, ...]]:
    """Shapes of weights and biases, in torch's order; kernels of 5x5 where images come in."""
    shapes: list[tuple[int, ...]] = []
    for _, inputs, outputs in shape.products:
        convolves = shape.network == "lenet" and inputs % 25 == 0
        weight = (outputs, inputs // 25, 5, 5) if convolves else (outputs, inputs)
        shapes += [weight, (outputs,)]
    return shapes


def _logits(params: Sequence[Any], x: Any) -> Any:
    """Of one network on images [batch, FEATURES]: LeNet's where the first weight is a kernel."""
    from torch.nn.functional import conv2d, linear, max_pool2d

    pairs = list(zip(params[::2], params[1::2], strict=True))
    if pairs[0][0].ndim == 4:
        x = x.reshape(-1, 1, 28, 28)
        x = max_pool2d(conv2d(x, *pairs[0], padding=2).relu(), 2)
        x = max_pool2d(conv2d(x, *pairs[1]).relu(), 2)
        x = conv2d(x, *pairs[2]).relu().flatten(1)
        pairs = pairs[3:]
    for weight, bias in pairs[:-1]:
        x = linear(x, weight, bias).relu()
    return linear(x, *pairs[-1])


def _timed(batch_size: int, steps: int, step: Callable) -> float:
    """Milliseconds of `step`, (images, labels) of a batch, in epochs of random images."""
    import torch

    images = torch.rand(steps * batch_size, FEATURES)
    labels = torch.randint(0, CLASSES, (steps * batch_size,))

    def epoch():
        for rows in torch.randperm(len(images)).split(batch_size):
            step(images[rows], labels[rows])

    return 1e3 * shortest({"epoch": epoch}, 3)["epoch"] / steps


def torch_step_ms(shape: Shape, steps: int = 200) -> float | None:
    """A hand-written PyTorch loop of backprop with the same settings; None without torch.

    None of recurrent networks, too: theirs is not written here.
    """
    if shape.network == "recurrent":
        return None
    try:
        import torch
    except ImportError:
        return None
    torch.manual_seed(0)
    params = [torch.randn(own).mul_(0.1).requires_grad_() for own in _parameters(shape)]
    optimizer = torch.optim.Adadelta(params, lr=1.0, rho=0.9, eps=1e-6)

    def step(images, labels):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(_logits(params, images), labels).backward()
        optimizer.step()
        with torch.no_grad():
            for p in params:
                scale = 127 / p.abs().max()
                p.mul_(scale).round_().div_(scale)

    return _timed(shape.batch_size, steps, step)


def torch_ensemble_step_ms(
    shape: Shape, replicas: int, steps: int = 45
) -> float | None:
    """A step of so many stacked networks, for each of them; same work as `torch_step_ms`.

    All see the same batch, as networks of one seed do here. None without torch, or where it cannot
    compile (it needs a C++ compiler), and of recurrent networks, see `torch_step_ms`.
    """
    if shape.network == "recurrent":
        return None
    try:
        import torch
    except ImportError:
        return None
    torch.manual_seed(0)
    params = [0.1 * torch.randn(replicas, *own) for own in _parameters(shape)]
    held = [params, *([torch.zeros_like(p) for p in params] for _ in range(2))]

    def loss(params, x, labels):
        return torch.nn.functional.cross_entropy(_logits(params, x), labels)

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
        step(torch.rand(shape.batch_size, FEATURES),
             torch.randint(0, CLASSES, (shape.batch_size,)))
    except RuntimeError:  # what its compiler raises is one
        return None
    return _timed(shape.batch_size, steps, step) / replicas


def simulator_step_ms(
    memory: str, converters: bool, shape: Shape, steps: int = 60
) -> float | None:
    """A step of aihwkit's analog MLP, backprop; None without it, or without such a device.

    As its users write it: `AnalogSequential` and `AnalogSGD`, with torch's own number of threads;
    converters and their noise are its defaults.
    """
    if memory not in _SIMULATED or shape.network != "mlp":
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
    layers = [layer for _, a, b in shape.products
              for layer in (AnalogLinear(a, b, bias=True, rpu_config=rpu), torch.nn.ReLU())]
    network = AnalogSequential(*layers[:-1])
    optimizer = AnalogSGD(network.parameters(), lr=0.1)
    optimizer.regroup_param_groups(network)

    def step(images, labels):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return _timed(shape.batch_size, steps, step)
