"""Words of the command line for quantizers and memories, and numbers of memories."""

import argparse
import contextlib
import io

import pytest

from experiments import lowbit, run
from experiments.cells import LEARNING_RATES, kinds, product
from experiments.cells.cell import AXES
from experiments.studies.lowbit import candidates
from qjax import memories, structs
from qjax.memories import number
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import Quantizer

GRIDDED = {"noise": 0.1, "slack": 2.0}


@structs.dataclass
class Gridded(memories.Nearest):
    """With numbers."""

    noise: float = number(0.1, "of a write", low=0, high=1)
    slack: float = number(2.0, "of something")


@structs.dataclass
class Analog(memories.Float):
    """Without levels."""

    noise: float = number(0.0, "of a write", low=0)


@pytest.fixture(autouse=True)
def _more_memories(monkeypatch):
    monkeypatch.setitem(memories.MEMORIES, "gridded", Gridded)
    monkeypatch.setitem(memories.MEMORIES, "analog", Analog)


def test_levels_are_sorted_and_come_from_a_file_too(tmp_path):
    assert kinds.quantizer("levels:1,-1:.5") == "levels:-1:0.5:1"
    (tmp_path / "levels.csv").write_text("1, -1\n0.25 0.25\n")
    assert kinds.quantizer(f"levels:{tmp_path / 'levels.csv'}") == "levels:-1:0.25:1"
    assert kinds.quantizer("pow2") == "pow2"


@pytest.mark.parametrize(("text", "message"), [
    ("pow", "did you mean pow2"), ("pow2:3", "expected pow2 alone"),
    ("levels", "at least two different"), ("levels:1:x", "or levels:FILE"),
    ("levels:nan:1", "at least two different"),
])
def test_other_quantizers_are_refused(text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        kinds.quantizer(text)


@pytest.mark.parametrize(("text", "message"), [
    ("noise", "expected NAME=VALUE or NAME=VALUE,VALUE with the name of a number of the memory"),
    ("noize=1", "did you mean noise"), ("noise=a", "expected a number for noise, got 'a'"),
    ("noise=0.5,-2", "expected noise, of a write, to be a number from 0 to 1, got -2"),
    ("slack=inf", "to be a number that is finite, got inf"),
])
def test_other_numbers_are_refused(text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        kinds.setting(text)


def test_equal_tables_of_steps_are_one_word():
    words = ["piecewise_step:1,0.5:1", "piecewise_step:1.0,.5:1", "piecewise_step:1, .5:1e0"]
    assert {kinds.memory(word) for word in words} == {"piecewise_step:1,0.5:1"}
    assert kinds.memory("tiki_taka:piecewise_step:1.0:1.0:whole") == (
        "tiki_taka:piecewise_step:1:1:whole")


def test_chosen_memories_decide_what_a_number_may_be():
    noisy = [kinds.setting("noise=0.5,2")]
    kinds.check_settings(["", *noisy], ["analog", "nearest"])
    with pytest.raises(ValueError, match=r"--set noise=2: expected noise of gridded.*from 0 to 1"):
        kinds.check_settings(noisy, ["analog", "gridded"])
    with pytest.raises(ValueError, match="--set noise: a number of gridded and analog; none of"):
        kinds.check_settings(noisy, ["nearest"])
    twice = [kinds.setting("noise=0.1"), kinds.setting("noise=0.2,0.1")]
    assert kinds.combinations(twice) == ["noise=0.1", "noise=0.2"]


def test_numbers_combine_and_keep_to_the_memories_that_have_them():
    given = kinds.combinations([kinds.setting("noise=0.1,0.2"), kinds.setting("slack=3")])
    assert given == ["noise=0.1 slack=3.0", "noise=0.2 slack=3.0"]
    assert kinds.combinations([""]) == [""]
    cells = product({name: about.given or [1] for name, about in AXES.items()} | {
        "n_bits": [2, None], "update": ["gridded", "analog", "nearest"], "numbers": given,
        "gain": [None],
    })
    assert [(c.n_bits, c.quantizer, c.update, c.numbers) for c in cells] == [
        (2, "symm", "gridded", "slack=3.0"), (2, "symm", "gridded", "noise=0.2 slack=3.0"),
        (None, "none", "analog", "noise=0.1"), (None, "none", "analog", "noise=0.2"),
        (2, "symm", "nearest", ""), (None, "none", "none", ""),
    ]
    assert kinds.numbers("noise=0.2 slack=3.0") == {"slack": 3.0, "noise": 0.2}
    assert list(kinds.memories_with("noise")) == ["gridded", "analog"]
    assert Gridded().grid == Quantizer(bits=0)


def test_numbers_that_change_nothing_are_no_cells_of_their_own():
    assert kinds.own_numbers("soft_bounds", "diffusion=0.0 lifetime=0.0 nu=0.0") == ""
    assert kinds.own_numbers("capacitor", "lifetime=0.0") == "lifetime=0.0"
    assert kinds.number_of("soft_bounds", "", "diffusion") == 0.0


def test_bits_of_devices_are_refused():
    for said in refused("--memory", "soft_bounds", "--n-bits", "2"):
        assert "no levels in soft_bounds" in said


def refused(*words):
    """What `experiments.run` and `experiments.lowbit` say to the same words."""
    said = []
    for command in (run, lowbit):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as end:
            command.main([*words, "--dry-run", "--dataset", "digits"])
        assert end.value.code == 2
        said.append(errors.getvalue().partition("\n")[0].removeprefix("error: "))
    return said


@pytest.mark.parametrize(("words", "message"), [
    (["--n-bits", "8", "--quantizer", "pow2"], "pow2 has 2 to 7 bits, got 8: leave 8 out of"),
    (["--n-bits", "3", "--quantizer", "pow2", "--memory", "counter"],
     "counter divides equal distances between levels, which pow2 has not: leave pow2 out"),
    (["--n-bits", "2", "--quantizer", "levels:-1:0:1", "--memory", "hidden"],
     "hidden divides equal distances between levels, which levels:-1:0:1 has not"),
    (["--n-bits", "float", "--quantizer", "levels:-1:0:1"],
     "levels:-1:0:1 says nothing of unquantized networks: add --n-bits 2"),
    (["--n-bits", "2", "--set", "noise=0.1", "--memory", "nearest"], "--set noise: a number of"),
])
def test_words_that_do_not_go_together_are_refused_by_every_command(words, message):
    for said in refused(*words):
        assert said.startswith(message)


def test_one_bit_has_no_symmetric_grid_and_the_study_takes_another():
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), pytest.raises(SystemExit):
        run.main(["--n-bits", "1", "--dry-run"])
    assert "symm needs at least 2 bits (1 leaves only the level zero): leave 1" in errors.getvalue()
    args = lowbit.parser().parse_args(["--n-bits", "1", "2", "--algorithm", "fa"])
    cells = candidates(args)
    kinds.check(args, cells)
    assert {(c.n_bits, c.quantizer) for c in cells} == {(1, "asymm"), (2, "symm")}


def test_every_optimizer_has_a_usual_learning_rate():
    own = {name for name in OPTIMIZERS if ":" in name}  # which another test has entered
    assert LEARNING_RATES.keys() == OPTIMIZERS.keys() - own


def test_what_a_word_means_is_not_remembered_longer_than_it_means_that(monkeypatch):
    for kind, name in ((Gridded, "noise"), (memories.Float, None)):
        monkeypatch.setitem(memories.MEMORIES, "own", kind)
        assert kinds.has_levels("own") == (name is not None)
        assert kinds.number_of("own", "", "noise") == (GRIDDED[name] if name else None)
    monkeypatch.delitem(memories.MEMORIES, "own")
    assert kinds.number_of("own", "noise=1", "noise") is None
