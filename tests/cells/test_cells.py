"""Cells, groups and chunks: what runs, what runs together, and under which name."""

import hashlib
import json
from dataclasses import fields, replace

import pytest
from examples import CELL, FLOAT, OTHER
from hypothesis import given
from hypothesis import strategies as st

from experiments.cells import (
    AXES,
    DEFAULTS,
    NONE,
    Cell,
    Replica,
    chunks_of,
    group,
    held_program,
    product,
    settings_of,
)

NUMBERS = ["n_bits", "quantizer", "scope", "lr", "gamma", "weight_decay", "schedule",
           "label_smoothing", "numbers", "hidden_bits"]
# Of axes that came since, those that are declared to be nothing but numbers, at these values.
NUMBERS += [name for name in list(DEFAULTS)[10:]
            if (blank := AXES[name].blank) and blank(OTHER[name]) == blank(DEFAULTS[name])]
FIELDS = [f.name for f in fields(Cell)]


def axes(**values):
    return {name: [getattr(CELL, name)] for name in FIELDS} | values


def sets_of(groups):
    return {frozenset(g) for g in groups}


def test_product_has_every_combination():
    cells = product(axes(n_bits=[2, 3], lr=[0.1, 1.0, 2.0], quantizer=["symm", "asymm"]))
    found = {(c.n_bits, c.lr, c.quantizer) for c in cells}
    assert found == {(b, r, q) for b in (2, 3) for r in (0.1, 1.0, 2.0) for q in ("symm", "asymm")}
    assert len(cells) == 12


def test_product_varies_the_last_axis_first():
    cells = product(axes(n_layers=[1, 2], lr=[0.1, 1.0]))
    assert [(c.n_layers, c.lr) for c in cells] == [(1, 0.1), (1, 1.0), (2, 0.1), (2, 1.0)]


def test_product_leaves_out_repeated_values():
    assert product(axes(n_bits=[4, 4], lr=[1.0, 1.0])) == [CELL]


def test_product_needs_every_field():
    incomplete = axes()
    del incomplete["lr"]
    with pytest.raises(KeyError):
        product(incomplete)


def test_unquantized_cells_that_differ_only_in_the_quantizer_are_one():
    cells = product(
        axes(
            n_bits=[None], quantizer=["symm", "asymm"], scope=["global", "local"],
            update=["nearest", "stochastic", "latent"],
        )
    )
    assert cells == [FLOAT]


def test_unquantized_cells_still_differ_in_numbers():
    cells = product(axes(n_bits=[None], quantizer=["symm", "asymm"], lr=[0.1, 1.0]))
    assert [c.lr for c in cells] == [0.1, 1.0]


def test_quantized_cells_do_not_collapse():
    cells = product(axes(n_bits=[None, 4], quantizer=["symm", "asymm"]))
    assert len(cells) == 3


@pytest.mark.parametrize("name", NUMBERS)
def test_cells_that_differ_in_numbers_share_a_group(name):
    other = replace(CELL, **{name: OTHER[name]})
    assert group([CELL, other]) == [[CELL, other]]


@pytest.mark.parametrize("name", [n for n in FIELDS if n not in NUMBERS])
def test_cells_that_differ_in_the_program_split(name):
    other = replace(CELL, **{name: OTHER[name]})
    assert group([CELL, other]) == [[CELL], [other]]


def test_gradient_widths_share_a_group():
    cells = [replace(CELL, gradient_bits=b) for b in (4, 8)]
    assert group(cells) == [cells]


@pytest.mark.parametrize("update", ["nearest", "stochastic", "latent"])
@pytest.mark.parametrize("float_first", [False, True])
def test_float_joins_the_group_of_any_update_rule(update, float_first):
    cells = [replace(CELL, update=update), FLOAT]
    assert sets_of(group(cells[::-1] if float_first else cells)) == {frozenset(cells)}


def test_float_is_in_one_group_only():
    cells = [FLOAT, CELL, replace(CELL, update="latent")]
    assert sum(FLOAT in g for g in group(cells)) == 1


@pytest.mark.parametrize(
    "name", [n for n in FIELDS if n not in (*NUMBERS, "update")]
)
def test_float_does_not_join_a_group_of_another_program(name):
    other = replace(FLOAT, **{name: OTHER[name]})
    assert sets_of(group([CELL, other])) == {frozenset([CELL]), frozenset([other])}


def test_floats_alone_form_a_group():
    other = replace(FLOAT, lr=0.5)
    assert group([FLOAT, other]) == [[FLOAT, other]]


@given(
    st.lists(
        st.builds(
            lambda **values: product({k: [v] for k, v in (vars(CELL) | values).items()})[0],
            algorithm=st.sampled_from(["backprop", "fa"]),
            n_bits=st.sampled_from([None, 2, 3]),
            update=st.sampled_from(["nearest", "latent"]),
            optimizer=st.sampled_from(["sgd", "adam"]),
            lr=st.sampled_from([0.1, 1.0]),
        ),
        unique=True,
    )
)
def test_groups_partition_the_cells_and_each_has_one_program(cells):
    groups = group(cells)
    assert sorted(map(hash, cells)) == sorted(hash(c) for g in groups for c in g)
    for members in groups:
        assert len({replace(c.program, update=NONE) for c in members}) == 1
        assert len({c.update for c in members} - {NONE}) <= 1


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6)), unique=True, max_size=30
    ),
    st.integers(1, 12),
)
def test_chunks_hold_every_replica_once_within_the_limit(places, limit):
    replicas = [Replica(replace(CELL, lr=1.0 + width), seed) for width, seed in places]
    chunks = list(chunks_of(replicas, limit))
    members = [r for chunk in chunks for r in chunk.replicas]
    assert sorted(r.id for r in members) == sorted(r.id for r in replicas)
    for chunk in chunks:
        assert len(chunk.replicas) == len(chunk.cells) * len(chunk.seeds) <= limit
        assert len(set(chunk.cells)) == len(chunk.cells)
        assert len(set(chunk.seeds)) == len(chunk.seeds)


@given(st.integers(1, 5), st.integers(1, 5))
def test_a_full_rectangle_within_the_limit_is_one_chunk(n_cells, n_seeds):
    replicas = [
        Replica(replace(CELL, lr=1.0 + i), seed) for i in range(n_cells) for seed in range(n_seeds)
    ]
    (chunk,) = chunks_of(replicas, n_cells * n_seeds)
    assert (len(chunk.cells), len(chunk.seeds)) == (n_cells, n_seeds)


def test_cells_of_a_seed_stay_together():
    replicas = [Replica(replace(CELL, lr=1.0 + i), seed) for i in range(3) for seed in range(4)]
    assert [(len(c.cells), len(c.seeds)) for c in chunks_of(replicas, 6)] == [(3, 2), (3, 2)]


def test_chunk_counts_the_epochs_of_all_phases():
    (chunk,) = chunks_of([Replica(replace(CELL, epochs=3, readout_epochs=2), 0)], 1)
    assert chunk.epochs == 5


def test_chunks_of_other_members_have_other_ids():
    chunks = list(chunks_of([Replica(CELL, seed) for seed in range(4)], 2))
    assert chunks[0].id != chunks[1].id


@pytest.mark.parametrize("name", FIELDS)
def test_id_differs_for_each_differing_field(name):
    assert Replica(CELL, 0).id != Replica(replace(CELL, **{name: OTHER[name]}), 0).id


def test_id_differs_for_each_seed():
    assert len({Replica(CELL, seed).id for seed in range(20)}) == 20


def test_id_does_not_depend_on_how_the_cell_was_made():
    reordered = Cell(**{name: getattr(CELL, name) for name in reversed(FIELDS)})
    assert Replica(reordered, 3).id == Replica(CELL, 3).id


def test_id_does_not_depend_on_the_sweep():
    small = product(axes())
    large = product(axes(n_bits=[2, 4, None], lr=[0.1, 1.0], quantizer=["asymm", "symm"]))
    assert Replica(small[0], 1).id in {Replica(c, 1).id for c in large}


def test_id_of_a_stored_configuration_stays_as_it_is():
    # Stores of users hold this id: another value means that they retrain everything.
    assert Replica(CELL, 0).id == "a3fb4fa4cb4d87f7b924"


def test_a_new_axis_at_its_default_changes_no_id():
    # Of version 2 of the store, before schedule, gain and bias were axes.
    old = {name: value for name, value in vars(CELL).items() if name not in DEFAULTS}
    text = json.dumps([old, 3], sort_keys=True)
    assert Replica(CELL, 3).id == hashlib.sha256(text.encode()).hexdigest()[:20]
    others = [replace(CELL, **{name: OTHER[name]}) for name in DEFAULTS]
    assert len({Replica(c, 3).id for c in (CELL, *others)}) == 1 + len(DEFAULTS)


def test_gains_and_schedules_share_a_program():
    cells = [replace(CELL, gain=g, schedule=s) for g in (1.0, 2.0) for s in ("linear", "cosine")]
    assert len(group(cells)) == 1
    assert len(group([*cells, CELL])) == 2  # without a gain weights start elsewhere
    assert len(group([CELL, replace(CELL, bias="float")])) == 2


def test_synthesizers_with_rates_of_their_own_share_a_program():
    cells = [replace(CELL, synthesizer_lr=rate) for rate in (0.1, 0.2)]
    assert group([*cells, CELL]) == [cells, [CELL]]  # the last one's are quantized


def test_only_algorithms_with_synthesizers_have_a_rate_for_them():
    axes = {f.name: [getattr(CELL, f.name)] for f in fields(Cell)}
    axes |= {"algorithm": ["backprop", "dni", "dni_linear"], "synthesizer_lr": [None, 0.1]}
    found = [(c.algorithm, c.synthesizer_lr) for c in product(axes)]
    assert found == [("backprop", None), ("dni", None), ("dni", 0.1), ("dni_linear", None),
                     ("dni_linear", 0.1)]


def test_gamma_has_no_say_in_other_schedules():
    axes = {f.name: [getattr(CELL, f.name)] for f in fields(Cell)}
    axes |= {"schedule": ["exponential", "linear"], "gamma": [0.5, 0.7]}
    found = {(c.schedule, c.gamma) for c in product(axes)}
    assert found == {("exponential", 0.5), ("exponential", 0.7), ("linear", 1.0)}


def test_kinds_of_unequal_distances_are_programs_of_their_own_and_floats_join_them():
    words = ["symm", "asymm", "pow2", "levels:-1:0:1", "levels:-1:0.5:1"]
    cells = product(axes(n_bits=[2, 3, None], quantizer=words))
    groups = group(cells)
    assert [len({c.quantizer for c in g} - {NONE}) for g in groups] == [2, 1, 1, 1]
    assert sum(c.n_bits is None for c in cells) == 1
    alone = group(c for c in cells if c.quantizer in ("pow2", NONE))
    assert len(alone) == 1
    assert len(alone[0]) == 3


def test_a_list_of_levels_has_bits_of_its_own():
    cells = product(axes(n_bits=[2, 5, 8], quantizer=["levels:-1:0:0.5:0.7:1", "symm"]))
    assert [(c.n_bits, c.quantizer) for c in cells] == [
        (3, "levels:-1:0:0.5:0.7:1"), (2, "symm"), (5, "symm"), (8, "symm")]


def test_a_threshold_is_of_the_first_phase_alone():
    # hsic's output layer is trained by another optimizer, whose directions have other sizes.
    cell = replace(CELL, algorithm="hsic", readout_epochs=3, threshold=1.5)
    assert [settings_of(cell, held_program(cell), phase).threshold for phase in (0, 1)] == [1.5, 0]
