"""How long training takes beside what the machine could do, and where the time of a step goes.

`measure` times a group of replicas, `break_down` the parts of its step; `about_machine` says what
large products and copies reach here, `relate` and `compare` set one beside the other. `growth`
measures along widths, depths and groups; `growth_figure`, which draws that, needs matplotlib and is
imported only by name. `stores` fills one with very many networks.
"""

from experiments.benchmark import growth, stores
from experiments.benchmark.breakdown import (
    PARTS,
    REST,
    TOTAL,
    break_down,
    make_program,
    measure,
)
from experiments.benchmark.machine import about_machine
from experiments.benchmark.reports import COMPARED, comparable, compare, meets, read_report, relate
from experiments.benchmark.rivals import (
    simulator_step_ms,
    torch_ensemble_step_ms,
    torch_step_ms,
)
from experiments.benchmark.shapes import Shape, product_flops

__all__ = [
    "COMPARED", "PARTS", "REST", "TOTAL", "Shape", "about_machine", "break_down",
    "comparable", "compare", "growth", "growth_figure", "make_program", "measure", "meets",
    "product_flops", "read_report", "relate", "simulator_step_ms", "stores",
    "torch_ensemble_step_ms", "torch_step_ms",
]
