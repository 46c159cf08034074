"""Which replicas --only means."""

import argparse

import pytest

from experiments.commandline import options
from experiments.store.selection import add_only, matching

ROWS = [{"wait": 60.0, "n_bits": None, "update": "piecewise_step:1,0.5:1", "numbers": "nu=0.1"},
        {"wait": 0.0, "n_bits": 4, "update": "soft_bounds", "numbers": ""}]


@pytest.mark.parametrize(("words", "found"), [
    (["wait=60"], [0]), (["wait=60.0,1"], [0]), (["wait=0,60"], [0, 1]), (["wait=6"], []),
    (["n_bits=float"], [0]), (["n_bits=4,float"], [0, 1]), (["n_bits=4", "wait=60"], []),
    (["update=piecewise_step:1,0.5:1"], [0]), (["update=soft_bounds,latent"], [1]),
    (["nu=0.1"], [0]), (["nu=0"], [1]), (["memory=soft_bounds"], [1]), (["n-bits=4"], [1]),
])
def test_values_are_compared_as_what_they_are(words, found):
    p = argparse.ArgumentParser()
    add_only(p)
    conditions = p.parse_args(["--only", *words]).only
    assert matching(ROWS, conditions) == [ROWS[i] for i in found]


def test_both_spellings_add_up():
    p = options.Parser(prog="test")
    add_only(p)
    conditions = p.parse_args(["--only", "wait=0,60", "--where", "n_bits=4"]).only
    assert matching(ROWS, conditions) == [ROWS[1]]
    assert list(map(str, conditions)) == ["wait=0,60", "n_bits=4"]
