"""Figures of what goes on inside, against NumPy and against what the steps really do."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_algorithms import (
    BATCH,
    KEY,
    NETWORK,
    SGD,
    assert_close,
    assert_same,
    compiled,
    loss_from,
    shown,
)

from qjax import memories
from qjax.algorithms import ALGORITHMS, Batch, Rules, Settings, backprop
from qjax.diagnostics import (
    Diagnosis,
    Probe,
    angle,
    diagnose,
    norm_ratio,
    share_at_ends,
    share_changed,
    share_written,
    sqnr,
)
from qjax.hsic import nhsic
from qjax.memories import MEMORIES, Float, Nearest
from qjax.networks import mlp
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import SCOPES, make_quantizer
from qjax.training import Data, make_begin, make_epoch, make_init

RNG = np.random.default_rng(0)
FLOAT = make_quantizer(None)
UNIFORM = ("asymm", "symm")
GRIDS = [(bits, kind, scope) for bits in (2, 4) for kind in UNIFORM for scope in SCOPES]


def float32(tree):
    return jax.tree.map(jnp.float32, tree)


def flat(tree):
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


def degrees(a, b):
    """Angle of two trees by the textbook's formula; good to about 1e-6 of a degree."""
    a, b = flat(a), flat(b)
    cosine = a @ b / np.sqrt((a @ a) * (b @ b))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def ratio(a, b):
    return np.linalg.norm(flat(a)) / np.linalg.norm(flat(b))


def decibels(signal, quantized):
    signal, quantized = flat(signal), flat(quantized)
    return 10 * np.log10(np.sum(signal**2) / np.sum((signal - quantized) ** 2))


def codes_of(x, bits, kind, scope):
    """Number of the nearest level, counted from the lowest, and the number of the highest."""
    x = np.asarray(x, np.float64)
    top = 2**bits - (2 if kind == "symm" else 1)
    low, high = (-1, 1) if scope == "global" else (x.min(), x.max())
    if kind == "symm":
        high = max(abs(low), abs(high))
        low = -high
    return np.round((np.clip(x, low, high) - low) / (high - low) * top), top


# --- the figures ---


def pair_at(turn, size=50):
    """Two float32 vectors `turn` degrees apart, of different lengths."""
    (u, v), _ = np.linalg.qr(RNG.normal(size=(size, 2)))[0].T, None
    t = np.radians(turn)
    return float32((3 * u, 0.2 * (np.cos(t) * u + np.sin(t) * v)))


@pytest.mark.parametrize("turn", [0, 1e-3, 0.1, 30, 90, 137, 179.999, 180])
def test_angle_is_known_to_a_ten_thousandth_of_a_degree(turn):
    # The arc cosine in float32 gives 0 or 0.03 where the angle is 0.001.
    np.testing.assert_allclose(angle(*pair_at(turn)), turn, rtol=0, atol=1e-4)


@pytest.mark.parametrize("scales", [(1e-8, 1e8), (1e-15, 1e-15), (1e15, 1e-3)])
def test_angle_does_not_depend_on_the_lengths(scales):
    a, b = pair_at(41)
    np.testing.assert_allclose(angle(scales[0] * a, scales[1] * b), 41, atol=1e-4)


def test_angle_of_trees_is_that_of_all_their_numbers_together():
    rng = np.random.default_rng(1)  # of its own: the last line needs these numbers
    a, b = (
        {"kernel": rng.normal(size=(3, 4)), "rest": (rng.normal(size=5), rng.normal())}
        for _ in range(2)
    )
    np.testing.assert_allclose(angle(float32(a), float32(b)), degrees(a, b), rtol=1e-5)
    assert abs(degrees(a, b) - degrees(a["kernel"], b["kernel"])) > 1


def test_angle_with_zero_is_nan_and_only_there():
    a = jnp.array([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    b = jnp.array([[0.0, 0.0], [3.0, 1.0], [0.0, 0.0], [0.0, 2.0]])
    ours = jax.jit(jax.vmap(angle))(a, b)
    np.testing.assert_allclose(ours, [np.nan, np.nan, np.nan, 90], rtol=1e-6)


def test_norm_ratio():
    a, b = ({"x": RNG.normal(size=(4, 2)), "y": RNG.normal(size=3)} for _ in range(2))
    np.testing.assert_allclose(norm_ratio(float32(a), float32(b)), ratio(a, b), rtol=1e-5)
    zero = jax.tree.map(np.zeros_like, a)
    assert norm_ratio(float32(zero), float32(b)) == 0
    assert norm_ratio(float32(a), float32(zero)) == np.inf
    assert np.isnan(norm_ratio(float32(zero), float32(zero)))


def test_sqnr_is_a_ratio_of_powers_in_decibels():
    signal = RNG.normal(size=(20, 10))
    for error in (1e-3, 0.1, 30):
        quantized = signal + error * RNG.normal(size=signal.shape)
        np.testing.assert_allclose(
            sqnr(*float32((signal, quantized))), decibels(signal, quantized), atol=2e-3
        )
    # A tenth of the amplitude is a hundredth of the power.
    np.testing.assert_allclose(sqnr(jnp.ones(4), jnp.full(4, 0.9)), 20, atol=1e-4)
    assert sqnr(jnp.float32(signal), jnp.float32(signal)) == np.inf


def test_sqnr_grows_by_six_decibels_a_bit():
    signal = RNG.uniform(-1, 1, 4000)
    low, high = (float(sqnr(*float32((signal, np.round(signal * 2**b) / 2**b)))) for b in (4, 7))
    np.testing.assert_allclose(high - low, 3 * 20 * np.log10(2), atol=0.5)


@pytest.mark.parametrize("words", GRIDS)
def test_share_at_ends_counts_the_outer_levels(words):
    x = np.float32(0.6 * RNG.normal(size=(40, 10)) + 0.2)
    codes, top = codes_of(x, *words)
    expected = np.mean((codes == 0) | (codes == top))
    assert 0 < expected < 1
    np.testing.assert_allclose(share_at_ends(x, make_quantizer(*words)), expected, rtol=1e-6)


def test_share_at_ends_of_known_weights():
    x = jnp.array([-1.0, -1.0, 0.0, 0.0, 1.0, 0.3, -0.2, 0.1])
    assert share_at_ends(x, make_quantizer(2, "symm", "global")) == 3 / 8
    assert share_at_ends(x, make_quantizer(1, "asymm", "global")) == 1  # two levels: both are ends
    # A symmetric range reaches as far down as up, and nothing need be there.
    assert share_at_ends(jnp.array([-0.1, 0.1, 0.2, 2.0]), make_quantizer(4, "symm")) == 1 / 4


def test_without_a_grid_there_are_no_ends():
    x = jnp.array([-1.0, 0.5, 1.0])
    cells = jax.tree.map(lambda *v: jnp.stack(v), FLOAT, make_quantizer(3, "symm", "global"))
    ours = jax.jit(jax.vmap(share_at_ends, in_axes=(None, 0)))(x, cells)
    np.testing.assert_allclose(ours, [np.nan, 2 / 3], rtol=1e-6)
    assert np.isnan(share_at_ends(jnp.zeros(3), make_quantizer(3)))  # no extent, no local range


@pytest.mark.parametrize("words", GRIDS)
def test_share_changed_counts_levels(words):
    bits, kind, scope = words
    lowest, top = (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1) if kind == "symm" else (0, 2**bits - 1)
    before = RNG.integers(lowest, top + 1, (30, 10))
    before[0, :2] = lowest, top  # a local range is measured between these
    others = RNG.integers(lowest, top + 1, before.shape)
    after = np.where(RNG.random(before.shape) < 0.3, others, before)
    after[0, :2] = lowest, top

    def values(codes, stretch):
        return jnp.float32(stretch * (2 * (codes - lowest) / (top - lowest) - 1))

    expected, quantizer = np.mean(before != after), make_quantizer(*words)
    assert 0 < expected < 1
    ours = share_changed(values(before, 1), values(after, 1), quantizer)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    if scope == "local":  # all values are others, but not all levels
        ours = share_changed(values(before, 1), values(after, 2), quantizer)
        np.testing.assert_allclose(ours, expected, rtol=1e-6)
        assert share_changed(values(before, 1), values(before, 2), quantizer) == 0
    nudged = values(before, 1) * (1 - 0.2 / (top - lowest))  # by less than half a level
    assert share_changed(values(before, 1), nudged, quantizer) == 0


def test_an_element_without_a_level_has_not_moved_and_moves_nobody():
    before = np.float32([-1, 0, 1, np.nan, 0])
    after = np.float32([-1, 1, 1, 0, np.inf])
    found = share_changed(before, after, make_quantizer(2, "symm", "local"))
    np.testing.assert_allclose(found, 1 / 5)


def test_without_a_grid_share_changed_counts_values():
    before = jnp.array([0.0, 1.0, -1.0, 0.5])
    assert share_changed(before, before, FLOAT) == 0
    assert share_changed(before, 2 * before, FLOAT) == 3 / 4
    assert share_changed(before, before + jnp.array([0, 1e-6, 0, 0]), FLOAT) == 1 / 4
    # Where a tensor has no extent it has no levels either.
    assert share_changed(jnp.zeros(4), before, make_quantizer(3)) == 3 / 4


# --- diagnose ---


def block(shape):
    return {"kernel": RNG.normal(size=shape), "bias": RNG.normal(size=shape[-1])}


def made_up():
    """A probe of three blocks, the weights then and now, and the inputs, as float64."""
    shapes, examples = ((4, 6), (6, 5), (5, 3)), 12
    now, then, wanted, written, own, true, change, kept = (
        tuple(map(block, shapes)) for _ in range(8))
    outputs = (RNG.normal(size=(examples, 2, 3, 1)), None, RNG.normal(size=(examples, 3)))
    probe = Probe(
        gradients=(own[0], None, own[2]),
        true_gradients=(true[0], None, true[2]),
        feedback=({"kernel": RNG.normal(size=(4, 6))}, None, None),
        wanted=(wanted[0], None, wanted[2]),
        written=(written[0], None, written[2]),
        outputs=outputs,
        changes=(change[0], None, change[2]),
        kept=(kept[0], None, kept[2]),
        targets=np.eye(3)[RNG.integers(0, 3, examples)],
    )
    return probe, then, now, RNG.normal(size=(examples, 2, 2, 1))


def test_diagnose_gives_every_figure_to_its_block():
    probe, then, now, inputs = made_up()
    words = (3, "asymm", "local")
    cells = jax.tree.map(lambda *v: jnp.stack(v), FLOAT, make_quantizer(*words))
    run = compiled(jax.vmap(diagnose, in_axes=(None, None, None, 0, None)))
    ours = run(*float32((probe, then, now)), [cells] * 3, jnp.float32(inputs))
    for grid, cell in ((FLOAT, 0), (make_quantizer(*words), 1)):
        sizes = [kernel["kernel"].size for kernel in now]
        np.testing.assert_allclose(
            share_written(*float32((then, now)), [grid] * 3),
            np.average(ours.changed[cell], weights=sizes), rtol=1e-6)
    assert all(figure.shape == (2, 3) for figure in ours)

    def per_block(function, *names):
        return [
            np.nan if trees[0] is None else function(*trees)
            for trees in zip(*(getattr(probe, name) for name in names), strict=True)
        ]

    matrix, kernel = probe.feedback[0]["kernel"], now[0]["kernel"]
    expected = {
        "gradient_angle": per_block(degrees, "gradients", "true_gradients"),
        "feedback_angle": [degrees(matrix, kernel), np.nan, np.nan],
        "feedback_ratio": [ratio(matrix, kernel), np.nan, np.nan],
        "sqnr": per_block(
            lambda w, q: decibels(w["kernel"], q["kernel"]), "wanted", "written"
        ),
        "write_noise": per_block(
            lambda k, w, c: ratio(k["kernel"] - w["kernel"], c["kernel"]),
            "kept", "wanted", "changes",
        ),
    }
    for name, values in expected.items():
        for cell in range(2):  # these do not ask for the grid
            np.testing.assert_allclose(getattr(ours, name)[cell], values, rtol=1e-4, err_msg=name)
    ends, changed = [], []
    for old, new in zip(then, now, strict=True):  # the untrained block included
        (before, _), (after, top) = (codes_of(b["kernel"], *words) for b in (old, new))
        ends.append(np.mean((after == 0) | (after == top)))
        changed.append(np.mean(before != after))
    np.testing.assert_allclose(ours.at_ends, [[np.nan] * 3, ends], rtol=1e-6)
    np.testing.assert_allclose(ours.changed, [[1.0] * 3, changed], rtol=1e-6)

    nhsic_of = compiled(nhsic)
    for name, other in (("nhsic_x", inputs.reshape(12, -1)), ("nhsic_y", probe.targets)):
        values = per_block(lambda z, o=other: nhsic_of(*float32((z.reshape(12, -1), o))), "outputs")
        for cell in range(2):
            np.testing.assert_allclose(getattr(ours, name)[cell], values, rtol=2e-3, err_msg=name)


# --- the probes of the algorithms ---

GRID = {"SETTINGS": FLOAT, "ON_GRID": make_quantizer(3, "symm", "global")}
ALIGNED = ("fa", "usf", "frsf", "brsf", "kp")
# On vectors dni_conv is dni, and dni_quiet differs at the start alone; the blocks of dni_inputs see
# other inputs than those of the true gradient; what follows is not for sequences.
LEFT_OUT = ("hsic", "hsic_sigmas", "hsic_unformatted", "dni_conv", "dni_quiet",
            "dni_unconditional", "dni_inputs", "tbptt", "dni_time")
ONE_PHASE = [name for name in ALGORITHMS if name not in LEFT_OUT]


def settings_of(settings, memory="nearest"):
    memory = MEMORIES[memory](GRID[settings])
    return Settings(learning_rate=0.3, weight_decay=0.05, memory=memory)


SETTINGS = settings_of("SETTINGS")


@cache
def looks(name, memory="nearest"):
    """(initial state of settings, its probe, its state after the step that was probed).

    Programs of a memory's own: `memory` says whose.
    """
    algorithm = ALGORITHMS[name](NETWORK, SGD)
    (phase,) = algorithm.phases

    def look(settings, state):
        after, _ = phase.step(KEY, settings, state, BATCH)
        return phase.probe(KEY, settings, state, BATCH), after, phase.show(settings, after)

    init = compiled(algorithm.init)

    def begin(settings):
        return phase.begin(settings, init(KEY, settings, BATCH.inputs))

    return begin, compiled(look)


@cache
def seen(name, memory="nearest", settings="SETTINGS"):
    settings = settings_of(settings, memory)
    init, look = looks(name, memory)
    state = init(settings)
    return state, *look(settings, state)


def true_gradients(blocks):
    return compiled(jax.grad(loss_from))(blocks, *BATCH)


def angles(probe):
    pairs = zip(probe.gradients, probe.true_gradients, strict=True)
    return np.array([degrees(*pair) for pair in pairs])


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("settings", ["SETTINGS", "ON_GRID"])
@pytest.mark.parametrize("name", ONE_PHASE)
def test_a_probe_is_the_step(name, settings):
    state, probe, after, _ = seen(name, "nearest", settings)
    assert_same(probe.written, shown(after)["blocks"])
    before = shown(state)["blocks"]
    assert_close(
        probe.wanted,
        jax.tree.map(lambda p, g: p - 0.3 * (g + 0.05 * p), before, probe.gradients),
    )
    assert_same(probe.kept, shown(after)["blocks"])  # which is all that this memory knows
    assert_close(probe.changes, jax.tree.map(jnp.subtract, probe.wanted, before))
    if settings == "SETTINGS":
        assert_same(probe.wanted, probe.written)
    else:  # thirds
        thirds = jax.tree.map(lambda p: np.round(3 * np.clip(p, -1, 1)) / 3, probe.wanted)
        assert_close(probe.written, thirds)
        assert not np.allclose(flat(probe.wanted), flat(probe.written), atol=1e-2)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("memory", ["stochastic", "pulse", "latent"])
def test_a_probe_writes_as_the_memory_does(memory):
    state, probe, after, now = seen("backprop", memory, "ON_GRID")
    assert_same(probe.written, now)
    if memory == "latent":
        assert_same(probe.kept, memories.read(Float(), after.held["blocks"]))
        before, kept = (memories.read(Float(), s.held["blocks"]) for s in (state, after))
        changes = jax.tree.map(lambda p, g: -0.3 * (g + 0.05 * p), before, probe.gradients)
        for floats in (probe.wanted, kept):
            assert_close(floats, jax.tree.map(jnp.add, before, changes))
        assert (flat(probe.wanted) != flat(probe.written)).any()


@pytest.mark.thorough(but=3)
@pytest.mark.parametrize("name", ONE_PHASE)
def test_true_gradients_are_of_the_loss_whatever_the_feedback(name):
    state, probe, _, _ = seen(name)
    assert_close(probe.true_gradients, true_gradients(shown(state)["blocks"]))


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("name", ["backprop", "fa"])
def test_true_gradients_are_at_the_weights_that_are_shown(name):
    state, probe, _, _ = seen(name, "latent", "ON_GRID")
    kept = memories.read(Float(), state.held["blocks"])
    thirds = jax.tree.map(lambda p: jnp.round(3 * jnp.clip(p, -1, 1)) / 3, kept)
    assert_close(probe.true_gradients, true_gradients(thirds))
    assert degrees(probe.true_gradients, true_gradients(kept)) > 1


@pytest.mark.parametrize("settings", ["SETTINGS", "ON_GRID"])
def test_backprop_follows_the_true_gradient(settings):
    _, probe, _, _ = seen("backprop", settings=settings)
    assert probe.feedback == (None,) * 3
    assert angles(probe).max() < 0.1


@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("name", [n for n in ONE_PHASE if n != "backprop"])
def test_others_follow_it_in_the_last_block_alone(name):
    _, probe, _, _ = seen(name)
    *hidden, last = angles(probe)
    assert last < 0.1
    assert min(hidden) > 1


def test_fa_with_the_kernels_as_feedback_follows_it_everywhere():
    init, look = looks("fa")
    state = init(SETTINGS)
    kernels = tuple({"kernel": b["kernel"]} for b in state.held["blocks"])
    probe, _, _ = look(SETTINGS, state.replace(fixed={"feedback": kernels}))
    assert angles(probe).max() < 0.1
    blocks = shown(state)["blocks"]
    ours = compiled(diagnose)(probe, blocks, blocks, [FLOAT] * 3, BATCH.inputs)
    np.testing.assert_allclose(ours.gradient_angle, np.zeros(3), atol=0.1)
    np.testing.assert_allclose(ours.feedback_angle, np.zeros(3), atol=1e-3)
    np.testing.assert_allclose(ours.feedback_ratio, np.ones(3), rtol=1e-6)
    pairs = zip(seen("fa")[1].feedback, blocks, strict=True)
    assert min(degrees(b, block["kernel"]) for b, block in pairs) > 10


@pytest.mark.parametrize("name", ALIGNED)
def test_the_feedback_is_what_stands_in_for_the_kernels(name):
    state, probe, _, _ = seen(name)
    kernels = [np.asarray(b["kernel"]) for b in shown(state)["blocks"]]
    ours = [b["kernel"] for b in probe.feedback]
    fixed = memories.read(SETTINGS.memory, state.fixed)
    if name == "kp":
        expected = [b["kernel"] for b in shown(state)["feedback"]]
    elif name == "fa":
        expected = [b["kernel"] for b in fixed["feedback"]]
    elif name == "usf":
        expected = [np.sign(k) * np.sqrt(2 / sum(k.shape)) for k in kernels]
    elif name == "frsf":
        stored = [b["kernel"] for b in fixed["feedback"]]
        expected = [np.sign(k) * np.abs(m) for k, m in zip(kernels, stored, strict=True)]
    else:  # new magnitudes of Xavier's range, within sqrt(6 / (fan_in + fan_out))
        expected = [np.sign(k) * np.abs(b) for k, b in zip(kernels, ours, strict=True)]
        for k, b in zip(kernels, ours, strict=True):
            assert 0.5 < np.abs(b).max() / np.sqrt(6 / sum(k.shape)) <= 1
    assert_close(probe.feedback, tuple({"kernel": b} for b in expected))


def test_brsf_shows_the_feedback_of_that_batch():
    """Hidden block l hears the error through B of block l + 1: solve for B, do not ask for it."""
    state, probe, _, _ = seen("brsf")
    one, two, three = jax.tree.map(np.asarray, shown(state)["blocks"])
    x, labels = map(np.asarray, BATCH)
    h1 = np.maximum(x @ one["kernel"] + one["bias"], 0)
    h2 = np.maximum(h1 @ two["kernel"] + two["bias"], 0)
    logits = h2 @ three["kernel"] + three["bias"]
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    down = probe.feedback[2]["kernel"]
    error = (odds - np.eye(3)[labels]) / 8 @ down.T * (h2 > 0)
    np.testing.assert_allclose(probe.gradients[1]["kernel"], h1.T @ error, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["backprop", "dfa", "dni", "dni_linear"])
def test_no_kernel_stands_in_where_errors_do_not_go_down(name):
    assert seen(name)[1].feedback == (None,) * 3


def test_outputs_and_labels_are_the_batchs():
    state, probe, _, _ = seen("dni")
    h = np.asarray(BATCH.inputs)
    for index, (layer, ours) in enumerate(zip(shown(state)["blocks"], probe.outputs, strict=True)):
        h = h @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        h = h if index == 2 else np.maximum(h, 0)
        np.testing.assert_allclose(ours, h, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(probe.targets, np.eye(3)[np.asarray(BATCH.labels)])


# --- hsic's probes ---


@pytest.fixture(scope="module")
def hsic_probes():
    algorithm = ALGORITHMS["hsic"](NETWORK)
    state = compiled(algorithm.init)(KEY, SETTINGS, BATCH.inputs)
    probes = [
        compiled(phase.probe)(KEY, SETTINGS, phase.begin(SETTINGS, state), BATCH)
        for phase in algorithm.phases
    ]
    return state, *probes


def test_hsic_probes_what_the_phase_trains(hsic_probes):
    state, bottleneck, readout = hsic_probes
    body, top = (True,) * 3 + (False,), (False,) * 3 + (True,)
    for probe, trained in ((bottleneck, body), (readout, top)):
        for name in set(Probe._fields) - {"feedback", "targets"}:
            assert tuple(tree is not None for tree in getattr(probe, name)) == trained
        assert probe.feedback == (None,) * 4
        np.testing.assert_array_equal(probe.targets, np.eye(3)[np.asarray(BATCH.labels)])
        for p, g, wanted in zip(
            shown(state)["blocks"], probe.gradients, probe.wanted, strict=True
        ):
            assert g is None or jax.tree.structure(p) == jax.tree.structure(g)
            assert wanted is None or jax.tree.structure(p) == jax.tree.structure(wanted)
    assert [z.shape for z in bottleneck.outputs[:3]] == [(8, 5), (8, 4), (8, 3)]
    assert degrees(readout.gradients[3], readout.true_gradients[3]) < 0.1


def test_hsic_hears_its_own_objective_and_is_measured_by_the_last_blocks(hsic_probes):
    state, probe, _ = hsic_probes
    one_hot = jnp.eye(3)[BATCH.labels]

    def objectives(blocks):
        """Ma et al., eq. 8, at the output of every block."""
        z, values = BATCH.inputs, []
        for layer in blocks:
            z = z @ layer["kernel"] + layer["bias"]
            z = jax.nn.relu((z - z.mean(0)) / jnp.sqrt(z.var(0) + 1e-5))
            values.append(nhsic(z, BATCH.inputs) - 500 * nhsic(z, one_hot))
        return jnp.stack(values)

    body = shown(state)["blocks"][:3]
    gradients = compiled(jax.jacrev(objectives))(body)  # [objective, ...] of every block
    for index, (own, true) in enumerate(
        zip(probe.gradients[:3], probe.true_gradients[:3], strict=True)
    ):
        for ours, objective in ((own, index), (true, 2)):
            expected = gradients[index]["kernel"][objective]
            # (A bias in front of a batch normalization has no gradient but rounding.)
            np.testing.assert_allclose(
                ours["kernel"], expected, atol=5e-3 * np.abs(expected).max()
            )
    first, second, last = angles(Probe(*(trees[:3] for trees in probe)))
    assert last < 0.1
    assert min(first, second) > 1


# --- after an epoch ---

CELLS = [None, (3, "symm", "local"), (2, "asymm", "global")]
SEEDS, EPOCH_BATCH, COUNT = jax.random.split(jax.random.key(0), 2), 16, 40
PIXELS = RNG.integers(0, 256, (COUNT, 6), dtype=np.uint8)
LABELS = (PIXELS[:, 0] > 128).astype(np.int32) + (PIXELS[:, 1] > 99)
EXAMPLES = Batch(jnp.asarray(PIXELS), jnp.asarray(LABELS))
DATA = Data(EXAMPLES, EXAMPLES)


def preprocess(x):
    return x.astype(jnp.float32) / 255


def stacked(settings):
    return jax.tree.map(lambda *v: jnp.stack(list(map(jnp.float32, v))), *settings)


@pytest.fixture(scope="module")
def epochs():
    """(before, after and report with diagnostics, after and report without)."""
    algorithm = backprop(mlp([5], 3), Rules(OPTIMIZERS["sgd"]()))
    (phase,) = algorithm.phases
    settings = stacked(
        Settings(learning_rate=0.5, gamma=0.0, memory=Nearest(make_quantizer(*(w or (None,)))))
        for w in CELLS
    )
    begin = make_begin(phase)
    before = begin(settings, make_init(algorithm, (EPOCH_BATCH, 6))(SEEDS, settings))
    words = {"batch_size": EPOCH_BATCH, "shuffle": True, "preprocess": preprocess}
    copy = jax.tree.map(np.asarray, before)
    looking, not_looking = (
        make_epoch(phase, **words, diagnose_after=flag) for flag in (True, False)
    )
    without = not_looking(SEEDS, 0, settings, jax.tree.map(jnp.asarray, copy), DATA)
    asked = looking(SEEDS, 0, settings, jax.tree.map(jnp.asarray, copy), DATA)
    kept = jax.tree.map(np.asarray, asked)
    stopped = looking(SEEDS, 1, settings, asked[0], DATA)  # gamma 0: at a learning rate of zero
    return shown(copy)["blocks"], kept, without, stopped


def test_an_epoch_reports_a_diagnosis_per_replica_and_block(epochs):
    _, (_, report), (_, silent), _ = epochs
    assert silent.diagnosis is None
    assert isinstance(report.diagnosis, Diagnosis)
    assert all(figure.shape == (2, 3, 2) for figure in report.diagnosis)
    assert (report.diagnosis.gradient_angle < 0.1).all()
    assert np.isnan(report.diagnosis.feedback_angle).all()
    no_grid = np.isnan(report.diagnosis.at_ends)
    assert no_grid[:, 0].all()
    assert not no_grid[:, 1:].any()
    assert np.isinf(report.diagnosis.sqnr[:, 0]).all()
    assert np.isfinite(report.diagnosis.sqnr[:, 1:]).all()


def test_looking_does_not_change_the_training(epochs):
    _, (state, report), (other, silent), _ = epochs
    assert_close(state, other, rtol=1e-6, atol=1e-6)
    assert_close(report._replace(diagnosis=None), silent, rtol=1e-6, atol=1e-6)


def test_changed_is_between_the_epochs_start_and_end(epochs):
    before, (state, report), _, _ = epochs
    for seed in range(2):
        for cell, words in enumerate(CELLS):
            for index in range(2):
                old, new = (
                    blocks[index]["kernel"][seed, cell]
                    for blocks in (before, shown(state)["blocks"])
                )
                codes = (x if words is None else codes_of(x, *words)[0] for x in (old, new))
                expected = np.mean(np.not_equal(*codes))
                ours = report.diagnosis.changed[seed, cell, index]
                np.testing.assert_allclose(ours, expected, rtol=1e-6, err_msg=str(words))
    assert ((report.diagnosis.changed[:, 1] > 0) & (report.diagnosis.changed[:, 1] < 1)).any()


def test_where_the_schedule_has_stopped_the_training_nothing_changes(epochs):
    _, _, _, (_, report) = epochs
    np.testing.assert_array_equal(report.diagnosis.changed, np.zeros((2, 3, 2)))
    assert np.isinf(report.diagnosis.sqnr).all()


def test_the_first_examples_are_looked_at_after_the_epoch(epochs):
    _, (state, report), _, _ = epochs
    x = PIXELS[:EPOCH_BATCH] / 255
    one, two = jax.tree.map(lambda leaf: leaf[1, 0], shown(state)["blocks"])
    hidden = np.maximum(x @ one["kernel"] + one["bias"], 0)
    outputs = (hidden, hidden @ two["kernel"] + two["bias"])
    one_hot, nhsic_of = np.eye(3)[np.asarray(EXAMPLES.labels)[:EPOCH_BATCH]], compiled(nhsic)
    for index, z in enumerate(outputs):
        for figure, other in ((report.diagnosis.nhsic_x, x), (report.diagnosis.nhsic_y, one_hot)):
            expected = nhsic_of(*float32((z, other)))
            np.testing.assert_allclose(figure[1, 0, index], expected, rtol=5e-3)
