"""Tests of what is not in this package, by package.module:name in the place of a word."""

import sys

import pytest
from examples import TINY, refused, store_of
from programs import command, planned

import qjax
from experiments import best, export, plot, run
from experiments.cells import Cell, account_of, own
from experiments.report import __main__ as report
from experiments.sweep.networks import file_of

MODULE = '''
import flax.linen as nn
import jax
import optax
from qjax import structs

from qjax import algorithms, networks
from qjax.memories import Bits, number
from qjax.quantize import Quantizer, make_grid, quantize


def net(outputs):
    return nn.Dense(7), networks.Dense(6), networks.Dense(outputs, activation=networks.identity)


def rule(network, rules=algorithms.Rules()):
    return algorithms.fa(network, rules)


def lion():
    return optax.scale_by_lion()


@structs.dataclass
class Blurred:
    """Rounded at random, and blurred."""

    grid: Quantizer = Quantizer(bits=0)
    haze: float = number(0.1, "deviation, as a share of a change", 0)

    def init(self, key, weights):
        return quantize(weights, make_grid(weights, self.grid))

    def read(self, held):
        return held

    def write(self, key, held, change):
        after = held + change * (1 + self.haze * jax.random.normal(key, held.shape))
        return quantize(after, make_grid(after, self.grid), key)

    def account(self):
        return Bits(self.grid.bits, 0.0)
'''
ALL = ("--network my_things:net --algorithm my_things:rule --optimizer my_things:lion "
       "--memory my_things:Blurred --set haze=0,0.5 --n-bits 3")


@pytest.fixture
def things(tmp_path, monkeypatch):
    """A module of somebody's, and tables that forget it again."""
    (tmp_path / "my_things.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    tables = [own.ALGORITHM.words, own.NETWORK.words, own.OPTIMIZER.words, own.MEMORY.words]
    before = [dict(table) for table in tables]
    yield
    sys.modules.pop("my_things", None)
    for table, words in zip(tables, before, strict=True):
        table.clear()
        table.update(words)


def test_all_of_ones_own_are_trained_kept_and_accounted_for(things, tmp_path):
    found = command(tmp_path / "out", TINY, ALL, "--epochs 1 --seeds 1")
    assert found.code == 0
    assert len(found.replicas) == 2
    assert len({row["train_loss"] for row in found.replicas}) == 2  # the numbers say something
    for row in found.replicas:
        assert (row["network"], row["n_layers"]) == ("my_things:net", 0)
        network = qjax.load(file_of(tmp_path / "out", row["id"]))
        assert network.network[0].features == 7
        assert len(network.codes) == 6
    (first, _) = planned(f"{ALL} --dataset digits")
    bits = account_of(first)
    assert bits.device == 3
    assert bits.beside > 32  # lion's, and the feedback


def test_they_are_met_again_in_results(things):
    (cell, _) = planned(f"{ALL} --dataset digits")
    for table in (own.ALGORITHM, own.NETWORK, own.OPTIMIZER, own.MEMORY):
        for word in [word for word in table.words if word.startswith("my_things")]:
            del table.words[word]
    assert account_of(Cell(**vars(cell))) is not None
    assert "my_things:net" in own.NETWORK.words


def test_their_numbers_are_words_where_results_have_them(things, tmp_path, capsys):
    cells = planned(f"{ALL} --dataset digits")
    store_of(tmp_path / "out", cells, seeds=1)
    assert export.main(["--out", str(tmp_path / "out"), "--csv", str(tmp_path / "out.csv")]) == 0
    for source in ("out", "out.csv"):
        del own.MEMORY.words["my_things:Blurred"]
        assert plot.main(["--results", str(tmp_path / source), "--format", "png", "--x", "haze",
                          "--where", "haze=0,0.5"]) == 0
    del own.MEMORY.words["my_things:Blurred"]
    for program, words in ((export, ["--out"]), (report, ["--results"]), (best, ["--results"])):
        assert program.main([*words, str(tmp_path / "out"), "--only", "haze=0.5"]) == 0
        del own.MEMORY.words["my_things:Blurred"]
    capsys.readouterr()
    assert "unknown value 'haze'" in refused(plot, ["--x", "haze", "--results", "absent"], capsys)


def test_what_nobody_finds_any_more_has_no_account(things):
    (cell, _) = planned(f"{ALL} --dataset digits")
    for table in (own.ALGORITHM, own.NETWORK, own.OPTIMIZER, own.MEMORY):
        for word in [word for word in table.words if word.startswith("my_things")]:
            del table.words[word]
    sys.modules["my_things"] = None
    assert account_of(cell) is None


def test_what_another_package_has_will_do(things):
    (cell,) = planned("--optimizer optax:scale_by_lion")
    assert (cell.optimizer, cell.lr) == ("optax:scale_by_lion", 1e-3)


@pytest.mark.parametrize(("words", "message"), [
    ("--network my_things:nett", "has no attribute 'nett': expected (outputs) -> blocks"),
    ("--network absent:net", "No module named 'absent'"),
    ("--memory my_things:net", "it has not all of init, read, write and account"),
    ("--optimizer optax:adam", "learning_rate"),
    ("--optimizer my_things:net", "expected () -> optax transformation"),
    ("--algorithm my_things:MODULE", "has no attribute"),
    ("--algorithm backprob", "did you mean backprop?"),
    ("--memory tiki_takka:reram_es", "No module named 'tiki_takka': did you mean tiki_taka?"),
])
def test_what_does_not_fit_is_refused(things, capsys, words, message):
    with pytest.raises(SystemExit) as ended:
        run.parser().parse_args(words.split())
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_rule_that_cannot_be_called_says_what_was_expected(things, tmp_path):
    with pytest.raises(TypeError, match="positional argument") as raised:
        command(tmp_path, TINY, "--algorithm my_things:net --dry-run")
    assert "expected to be a function of a network and rules" in " ".join(raised.value.__notes__)
