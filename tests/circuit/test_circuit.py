"""What a device is like, its picture, models of a measured one, and the command."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from experiments import circuit, devices
from experiments.circuit import facts, fitting, picture
from qjax.devices import ConstantStep, LinearStep, PiecewiseStep, SoftBounds
from qjax.memories import MEMORIES, Pulsed, named, with_numbers

EQUAL = {"dw_min_dtod": 0.0, "dw_min_std": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0,
         "w_min_dtod": 0.0}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_facts_of_a_device_with_equal_steps():
    memory = Pulsed(ConstantStep(dw_min=0.01, w_max=1.0, w_min=-1.0, **EQUAL))
    known = circuit.facts_of(memory)
    assert known.states == pytest.approx(200)
    # From -0.9 to 0.9, with rounding errors of as many additions.
    assert (known.up, known.down) == (pytest.approx(180, abs=1), pytest.approx(180, abs=1))
    assert (known.symmetry, known.asymmetry, known.write) == (0, 0, 0)
    assert known.spread == pytest.approx(0, abs=1e-6)


def test_facts_of_a_lopsided_device_with_noise():
    device = SoftBounds(dw_min=0.01, w_max=1.0, w_min=-1.0, up_down=0.2,
                        **EQUAL | {"dw_min_dtod": 0.1, "dw_min_std": 0.5})
    known = circuit.facts_of(Pulsed(device, write_noise_std=3.0))
    # Steps up a (1 - w), down 0.8 a (1 + w): equal at w = (1 - 0.8) / (1 + 0.8).
    assert known.symmetry == pytest.approx(0.2 / 1.8, abs=1e-3)
    assert known.asymmetry == pytest.approx(0.2 / 1.8, abs=1e-3)
    # (1 - 0.9) / (1 + 0.9) of the distance is left after the pulses up.
    assert known.up == pytest.approx(np.log(0.1 / 1.9) / np.log(0.99), rel=0.01)
    assert known.down > known.up
    assert known.cycle == pytest.approx(0.5)
    assert known.write == pytest.approx(3)
    assert known.spread == pytest.approx(0.1, rel=0.03)


def test_a_device_that_never_arrives_has_no_number_of_pulses(monkeypatch):
    monkeypatch.setattr(facts, "LONGEST", 50)
    known = circuit.facts_of(Pulsed(ConstantStep(dw_min=0.01, w_max=1.0, w_min=-1.0, **EQUAL)))
    assert (known.up, known.down) == (None, None)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("name", [n for n, m in MEMORIES.items() if isinstance(m, Pulsed)][::9])
def test_pictures_have_four_panels_and_say_what_they_show(name):
    figure = picture.draw(named(name), name)
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert len(shown) == 4
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in shown)
    assert name in figure.get_suptitle()


def measured(device, path, pulses=40, noise=0.0):
    """A CSV file of what a device does, in microsiemens from 2 to 12."""
    turns = np.tile(np.repeat([1, -1], pulses), 2)
    memory = Pulsed(device)
    _, mean = facts.paths(memory, turns, 1)
    rng = np.random.default_rng(0)
    weights = np.concatenate([[0.0], mean]) + noise * rng.normal(size=len(turns) + 1)
    lines = ["Direction, Conductance"]
    words = ["up", *np.where(turns > 0, "up", "down")]
    lines += [f"{word}, {7 + 5 * weight}" for word, weight in zip(words, weights, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return weights


def test_the_model_that_made_a_measurement_follows_it(tmp_path):
    device = LinearStep(dw_min=0.06, w_max=1.0, w_min=-1.0, gamma_up=0.6, gamma_down=0.3,
                        up_down=0.1, **EQUAL, gamma_up_dtod=0.0, gamma_down_dtod=0.0)
    weights = measured(device, tmp_path / "m.csv")
    told = circuit.read_measured(tmp_path / "m.csv")
    np.testing.assert_allclose(told.origin + told.scale * told.weights, 7 + 5 * weights, atol=1e-9)
    assert (told.weights.min(), told.weights.max()) == (-1, 1)
    linear = circuit.fit(told, "linear_step")
    constant = circuit.fit(told, "constant_step")
    assert linear.later < 0.01
    assert linear.error < 0.02
    assert constant.later > 4 * linear.later
    assert linear.numbers["gamma_up"] == pytest.approx(0.6, abs=0.05)


@pytest.mark.thorough
def test_a_table_follows_what_no_formula_says(tmp_path):
    up, down = np.array([0.2, 1.5, 0.4]), np.array([0.6, 0.3, 1.2])
    device = PiecewiseStep(dw_min=0.06, w_max=1.0, w_min=-1.0, piecewise_up=up,
                           piecewise_down=down, **EQUAL)
    measured(device, tmp_path / "m.csv", pulses=60)
    told = circuit.read_measured(tmp_path / "m.csv")
    table, line = (circuit.fit(told, model) for model in ("piecewise_step", "linear_step"))
    assert table.later < 0.02 < line.later / 2
    memory = named(table.word)  # what the command line is told is what was fitted
    found = with_numbers(memory, **table.numbers).device
    weights = jnp.linspace(-0.9, 0.9, 7)
    here, there = (d.moves(facts.mean_points(d, weights.shape), weights)
                   for d in (found, table.device))
    np.testing.assert_allclose(here.up, there.up, rtol=0.01)
    np.testing.assert_allclose(here.down, there.down, rtol=0.01)


def test_pulses_may_be_counted_instead(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("pulse,conductance\n" + "\n".join(
        f"{n},{g}" for n, g in zip([0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0],
                                   [1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1], strict=True)))
    told = circuit.read_measured(path)
    assert list(told.directions) == [1] * 5 + [-1] * 5
    np.testing.assert_allclose(told.weights, [-1, -.6, -.2, .2, .6, 1, .6, .2, -.2, -.6, -1])


@pytest.mark.parametrize(("text", "message"), [
    ("", "got nothing"), ("a,b\n1,2\n", "got a, b"),
    ("pulse,conductance\n" + "\n".join(f"{n},{n}" for n in range(20)), "all pulses go the same"),
    ("pulse,conductance\n" + "\n".join(f"{n},1" for n in range(20)), "ten conductances, not all"),
    ("pulse,conductance\n" + "\n".join(f"0,{n}" for n in range(20)), "line 3: expected one pulse"),
    ("pulse,conductance\n0,1\n1,x\n", "line 3: expected a finite number as conductance, got 'x'"),
    ("pulse,conductance\n0,1\n\n1,x\n", "line 4: expected a finite number .* got 'x'"),
    ("pulse,conductance\n0,1\n1,nan\n", "line 3: expected a finite number .* got 'nan'"),
    ("pulse,conductance\n0,1\n1\n", "line 3: expected a finite number .* got ''"),
    ("direction,conductance\nup,1\nleft,2\n", "line 3: expected up .* got 'left'"),
])
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(fitting.MeasuredError, match=message):
        circuit.read_measured(tmp_path / "m.csv")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "m.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(fitting.MeasuredError, match="expected text, a CSV file"):
        circuit.read_measured(tmp_path / "m.csv")


@pytest.mark.thorough
def test_of_models_that_follow_equally_well_the_simplest_is_first(tmp_path, monkeypatch):
    device = ConstantStep(dw_min=0.06, w_max=1.0, w_min=-1.0, **EQUAL)
    measured(device, tmp_path / "m.csv", noise=0.0)
    monkeypatch.setattr(fitting, "MODELS", {
        name: fitting.MODELS[name] for name in ("piecewise_step", "linear_step", "constant_step")})
    found = circuit.fits(circuit.read_measured(tmp_path / "m.csv"))
    assert [one.model for one in found] == ["constant_step", "linear_step", "piecewise_step"]
    assert max(one.later for one in found) - min(one.later for one in found) < 1e-3


@pytest.mark.parametrize(("step", "reading"), [(0.02, 0.0), (0.0, 0.02), (0.01, 0.01)])
def test_noise_that_adds_up_is_told_from_that_of_readings(step, reading):
    rng = np.random.default_rng(0)
    place = np.cumsum(rng.normal(0, step, 4001))
    found = fitting.noises(np.diff(place + rng.normal(0, reading, 4001)))
    np.testing.assert_allclose(found, (step, reading), atol=1.5e-3)


@pytest.mark.thorough
def test_a_model_of_a_device_that_is_read_with_noise_has_quiet_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "MODELS", {"soft_bounds": fitting.MODELS["soft_bounds"]})
    device = SoftBounds(dw_min=0.03, w_max=1.1, w_min=-1.1, **EQUAL)
    measured(device, tmp_path / "m.csv", pulses=80, noise=0.02)
    told = circuit.read_measured(tmp_path / "m.csv")
    (found,) = circuit.fits(told)
    size = np.mean(np.abs(np.diff(found.path)))
    assert found.numbers["dw_min_std"] * size < 0.3 * found.steps
    assert found.shown * told.scale / 5 == pytest.approx(0.02, rel=0.2)
    assert found.numbers["write_noise_std"] * found.numbers["dw_min"] == pytest.approx(found.shown)


def test_a_flag_that_is_none_is_refused_before_its_value_is_taken_for_a_name(tmp_path, capsys):
    for words in (["--out", str(tmp_path)], [f"--out={tmp_path}"]):
        with pytest.raises(SystemExit):
            devices.main(words)
        assert "unknown argument --out" in capsys.readouterr().err


def test_the_command_lists_shows_and_fits(tmp_path, capsys, monkeypatch):
    few = {name: fitting.MODELS[name] for name in ("constant_step", "soft_bounds")}
    monkeypatch.setattr(fitting, "MODELS", few)
    assert devices.main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"| {name} |" in listed for name, m in MEMORIES.items() if isinstance(m, Pulsed))

    assert devices.main(["reram_array_om", "--set", "dw_min=0.5", "--pages", "--folder",
                         str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "| dw_min | 0.5 |" in shown
    assert "Gong, Rasch et al. 2022" in shown
    assert "states 4" in shown
    assert {f.name for f in tmp_path.iterdir()} == {
        "device-reram_array_om.png", "reram_array_om.md"}
    assert "](device-reram_array_om.png)" in (tmp_path / "reram_array_om.md").read_text()

    assert devices.main(["mixed_precision"]) == 0
    assert "accumulator_bits" in capsys.readouterr().out
    assert devices.main(["nearest"]) == 0
    assert "no numbers to set" in capsys.readouterr().out

    measured(SoftBounds(dw_min=0.1, w_max=1.1, w_min=-1.1, **EQUAL), tmp_path / "mine.csv", 20)
    assert devices.main(["--fit", str(tmp_path / "mine.csv"), "--folder", str(tmp_path)]) == 0
    fitted = capsys.readouterr().out
    assert "--memory soft_bounds:whole --set dw_min=" in fitted
    assert "w_max_dtod=0 " in fitted
    assert (tmp_path / "fit-mine.png").is_file()


@pytest.mark.parametrize(("arguments", "message"), [
    (["soft_bound"], "did you mean soft_bounds"),
    (["--fit", "nothing.csv"], "cannot read nothing.csv"),
    (["soft_bounds", "--set", "gamma_up=1"], "a number of"),
    (["soft_bounds", "--set", "dw_min=-1"], "from 1e-09"),
    (["soft_bounds", "--set", "dw_min=0"], "from 1e-09"),
    (["soft_bounds", "--set", "dw_min=0.1,0.2"], "expected one value, to show one device; got 2"),
    (["soft_bounds", "--set", "corrupt_devices_prob=1"], "all of these devices are stuck"),
    (["pow_step", "--set", "dw_min=1e300"], "to 1e+09"),
])
def test_the_command_says_what_is_wrong(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        devices.main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err
