"""Programs and their terminals: help, ASCII only, a reader who goes away, a missing package."""

import os
import subprocess
import sys

import pytest
from programs import ROOT, finish, start

from experiments import commandline, run
from experiments.cells import AXES

TRAINED = "--dataset digits --n-layers 0 --hidden-width 4 --epochs 1 --seeds 2 --n-bits 8 float"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with one small training."""
    out = tmp_path_factory.mktemp("trained")
    finish(start(out, TRAINED))
    return out


@pytest.mark.thorough
@pytest.mark.parametrize("program", ["experiments.run", "experiments.tables"])
def test_a_terminal_of_ascii_gets_look_alikes(trained, program):
    words = ["--out", str(trained), *TRAINED.split()]
    if program == "experiments.tables":
        words = ["--results", str(trained)]
    done = subprocess.run(
        [sys.executable, "-m", program, *words], cwd=ROOT, capture_output=True, check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("ascii")
    assert " +- " in text
    assert not any(box in text for box in "?┃│")


def test_a_reader_who_leaves_ends_a_program_quietly(trained):
    with subprocess.Popen(
        [sys.executable, "-m", "experiments.export", "--out", str(trained), "--table", "ranges"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()  # before it has written anything
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


@pytest.mark.parametrize("program", ["experiments.plot", "experiments.lowbit_report",
                                     "experiments.devices", "experiments.inspect"])
def test_without_matplotlib_there_is_a_sentence(program, tmp_path):
    hidden = f"import sys; sys.modules['matplotlib'] = None; import {program}"
    done = subprocess.run([sys.executable, "-c", hidden], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 2
    assert done.stderr == (f"error: {program} needs matplotlib, not installed here: "
                           "pip install -e '.[experiments]'\n")


def test_help_names_all_words_in_lines_that_fit():
    text = run.parser().format_help()
    assert max(map(len, text.splitlines())) < 90
    for column in ("algorithm", "dataset", "update", "optimizer", "normalize"):
        assert all(word in text for word in AXES[column].words), column


def test_other_errors_are_not_hidden(monkeypatch):
    def main():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        commandline.run(main)


def test_nothing_is_computed_before_a_command_has_said_on_what():
    """jax.distributed comes too late once a backend has started."""
    told = subprocess.run(
        [sys.executable, "-c", "import experiments.run, qjax.memories\n"
         "from jax._src import xla_bridge\n"
         "raise SystemExit(xla_bridge.backends_are_initialized())"], check=False)
    assert told.returncode == 0


@pytest.mark.parametrize(("words", "note"), [
    ("--update hidden --n-bits 2 3 --hidden-bits 1 4",
     "note: --hidden-bits 1 counts as 3 with --n-bits 3: a weight has no fewer"),
    ("--algorithm backprop --bp-lambda 0.5", "--bp-lambda says nothing to any of these networks"),
    ("--algorithm backprop fa --bp-lambda 0.5 --truncation 4", "--bp-lambda and --truncation say"),
    ("--algorithm dni --bp-lambda 0.5", ""),
    ("--n-bits float --memory soft_bounds --hidden-bits 4", "--hidden-bits says nothing"),
    ("--n-bits float --memory soft_bounds --scope global --quantizer asymm",
     "--scope and --quantizer say nothing"),
    ("--n-bits float --quantizer asymm", ""),
    ("--algorithm tbptt --network recurrent --truncation 8", "nothing of them is cut"),
    ("--algorithm tbptt --network recurrent --truncation 7", ""),
])
def test_flags_that_say_nothing_are_told(words, note, monkeypatch, capsys):
    monkeypatch.setattr(run.sweep, "main", lambda *arguments: 0)
    assert run.main(["--dataset", "digits", "--n-bits", "8", *words.split()]) == 0
    said = capsys.readouterr().err
    assert note in said
    assert bool(said) == bool(note)
