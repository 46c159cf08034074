"""The best cell of every group, and the command that trains it."""

import re
import shlex
from dataclasses import replace

import pytest
from examples import CELL, csv_of, refused, row

from experiments import best, restore, run
from experiments.cells import Cell

FINAL = replace(CELL, algorithm="fa", dataset="mnist", n_bits=3, epochs=20)
TRIAL = replace(FINAL, dataset="mnist_holdout", epochs=4)
# The best on the test set is not the best on held-out data.
ROWS = [
    *(row(replace(TRIAL, lr=lr), 1000 + seed, accuracy + seed)
      for lr, accuracy in ((0.1, 70.0), (0.3, 80.0), (1.0, 60.0)) for seed in (0, 2)),
    *(row(replace(FINAL, lr=lr), seed, accuracy + seed)
      for lr, accuracy in ((0.1, 95.0), (0.3, 90.0)) for seed in range(3)),
    *(row(replace(TRIAL, n_bits=2, lr=lr, numbers="", epochs=3), 0, 50 + lr) for lr in (0.1, 3.0)),
    *(row(replace(FINAL, dataset="digits", gain=gain), 0, 40 + gain) for gain in (0.5, 2.0)),
]


@pytest.fixture
def found(tmp_path, capsys):
    path = csv_of(tmp_path / "x.csv", ROWS)

    def of(*words):
        assert best.main(["--results", str(path), *words]) == 0
        printed = capsys.readouterr().out
        lines = [[entry.strip() for entry in re.split("[│┃]", line)[1:-1]]
                 for line in printed.splitlines() if line.startswith(("│", "┃"))]
        commands = [line for line in printed.splitlines() if line.startswith("python ")]
        return lines, commands, printed

    return of


def cell_of(command) -> Cell:
    (cell,) = run.cells_of(run.parser().parse_args(shlex.split(command)[3:]))
    return cell


def test_the_best_learning_rate_in_one_command(found):
    (heads, line), (command,), printed = found("--where", "algorithm=fa", "n_bits=3",
                                               "dataset=mnist")
    assert heads == ["lr", "held-out", "seeds", "test", "seeds"]
    assert line == ["0.3", "81.00 ± 1.41", "2", "91.00 ± 1.00 (20 epochs)", "3"]
    assert cell_of(command) == replace(FINAL, lr=0.3, epochs=4)
    assert "Chosen among 3 cells." in printed
    assert "optimistic" not in printed


def test_the_command_trains_where_it_was_found(tmp_path, capsys):
    path, out = csv_of(tmp_path / "x.csv", ROWS), tmp_path / "of two words"
    assert restore.main(["--results", str(path), "--out", str(out)]) == 0
    assert best.main(["--results", str(out), "--where", "algorithm=fa", "n_bits=2"]) == 0
    *_, command = capsys.readouterr().out.splitlines()
    assert run.parser().parse_args(shlex.split(command)[3:]).out == out


def test_a_group_for_each_that_differs(found):
    (heads, *lines), commands, printed = found()
    assert heads == ["dataset", "n_bits", "lr", "gain", "held-out", "seeds", "test", "seeds"]
    assert lines == [
        ["digits", "3", "1", "2", "-", "-", "42.00", "1"],
        ["mnist", "2", "3", "none", "53.00", "1", "-", "-"],
        ["mnist", "3", "0.3", "none", "81.00 ± 1.41", "2", "91.00 ± 1.00 (20 epochs)", "3"],
    ]
    assert [cell_of(command) for command in commands] == [
        replace(FINAL, dataset="digits", gain=2.0),
        replace(FINAL, n_bits=2, lr=3.0, epochs=3), replace(FINAL, lr=0.3, epochs=4)]
    assert "1 of 3 groups are without held-out results: chosen on the test set" in printed


def test_the_best_few_of_groups_that_one_says(found):
    (heads, *lines), commands, printed = found("--by", "dataset", "--top", "2", "--where",
                                               "dataset=mnist")
    assert heads[:4] == ["dataset", "n_bits", "lr", "epochs"]
    assert [line[:4] for line in lines] == [["mnist", "3", "0.3", "4"], ["mnist", "3", "0.1", "4"]]
    assert "# mnist, place 2" in printed
    assert [cell_of(c).lr for c in commands] == [0.3, 0.1]


def test_what_was_never_held_out_says_so(found):
    _, _, printed = found("--where", "dataset=digits")
    assert "These are without held-out results: chosen on the test set" in printed


@pytest.mark.parametrize(("words", "message"), [
    (["--by", "algoritm"], "did you mean algorithm?"), (["--top", "0"], "at least 1"),
    (["--where", "n_bits=7"], "no finished replica has n_bits=7 (there is"),
])
def test_refuses_what_it_does_not_know(tmp_path, capsys, words, message):
    path = csv_of(tmp_path / "x.csv", ROWS)
    assert message in refused(best, ["--results", path, *words], capsys)
