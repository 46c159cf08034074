"""The command line of a run: what it refuses, and what it plans."""

import re
import sqlite3

import pytest
from examples import TINY
from programs import command, planned, start

from experiments import run
from experiments.store import FILE_NAME
from qjax.algorithms import ALGORITHMS

# What it refuses


def refused(capsys, words, out):
    """The message of a command that must exit with 2."""
    with pytest.raises(SystemExit) as stop:
        command(out, words)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("error:") == 1
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--algorithm backprp", "'backprp': did you mean backprop?"),
        ("--algorithm backpropagation", "valid: " + ", ".join(ALGORITHMS)),
        ("--dataset fashion-mnist", "did you mean fashion_mnist?"),
        ("--quantizer sym", "did you mean symm?"),
        ("--scope locl", "did you mean local?"),
        ("--update stochastik", "did you mean stochastic?"),
        ("--optimizer adm", "did you mean adam?"),
        ("--algoritm fa", "unknown argument --algoritm: did you mean --algorithm?"),
        ("--n_bits 4", "did you mean --n-bits?"),
        ("--algo fa", "unknown argument --algo"),  # no abbreviations: they change meaning
        ("backprop", "unknown argument backprop"),
        ("--n-bits", "--n-bits: expected at least one argument"),
        ("--network lenet", "lenet needs images of at least 28x28, those of digits are of 8x8x1"),
        ("--gain 0", "--gain: expected a finite number above 0"),
        ("--schedule linea", "did you mean linear?"),
        ("--n-bits 0", "bits from 1 to 16, or float; got '0'"),
        ("--n-bits 17", "bits from 1 to 16, or float; got '17'"),
        ("--n-bits 99", "got '99'"),
        ("--n-bits -4", "got '-4'"),
        ("--n-bits 4 flaot", "did you mean float?"),
        ("--n-bits 2.5", "got '2.5'"),
        ("--gradient-bits 0", "--gradient-bits: expected a whole number of bits from 1 to 16"),
        ("--n-bits 1", "symm needs at least 2 bits"),
        ("--n-bits 4 1 --quantizer asymm symm", "leave 1 out of --n-bits"),
        ("--hidden-width 0", "--hidden-width: expected a whole number of at least 1, got '0'"),
        ("--hidden-width wide", "got 'wide'"),
        ("--n-layers -1", "--n-layers: expected a whole number of at least 0, got '-1'"),
        ("--epochs 0", "--epochs: expected a whole number of at least 1, got '0'"),
        ("--readout-epochs 0", "--readout-epochs: expected"),
        ("--seeds 0", "--seeds: expected a whole number of at least 1, got '0'"),
        ("--first-seed -1", "--first-seed: expected"),
        ("--batch-size 0", "--batch-size: expected"),
        ("--lr 0", "--lr: expected a finite number above 0, got '0'"),
        ("--gain-rule learned", "--gain-rule learned needs a gain to start from: add --gain 1"),
        ("--lr nan", "got 'nan'"),
        ("--weight-decay -1", "--weight-decay: expected a finite number of at least 0, got '-1'"),
        ("--gamma inf", "got 'inf'"),
    ],
)
def test_refuses_arguments_and_creates_nothing(tmp_path, capsys, words, message):
    assert message in refused(capsys, words, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_refuses_seeds_that_do_not_fit(tmp_path, capsys):
    message = refused(capsys, f"{TINY} --first-seed {2**32} --epochs 1", tmp_path / "out")
    assert "seed" in message


def test_refuses_a_missing_idx_file_and_names_it(tmp_path, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    message = refused(capsys, f"--dataset mnist --data-dir {folder}", tmp_path / "out")
    assert str(folder / "mnist" / "train-images-idx3-ubyte") in message
    assert "--data-dir" in message
    assert not (tmp_path / "out").exists()


def test_refuses_an_output_folder_that_it_cannot_write(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    message = refused(capsys, TINY, tmp_path / "file" / "out")
    assert f"cannot write results to {tmp_path / 'file' / 'out'}" in message
    assert "--out" in message


def test_refuses_another_programs_file_and_leaves_it_alone(tmp_path, capsys):
    path = tmp_path / FILE_NAME
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = path.read_bytes()
    message = refused(capsys, TINY, tmp_path)
    assert f"{path} is not a result store of qjax" in message
    assert path.read_bytes() == before


def test_a_real_process_exits_with_2_and_one_message(tmp_path):
    process = start(tmp_path / "out", "--algorithm backprp")
    printed, errors = process.communicate(timeout=120)
    assert (process.returncode, printed) == (2, "")
    assert errors.splitlines()[0].startswith("error: argument --algorithm: unknown value 'backprp'")
    assert len(errors.splitlines()) == 2
    assert not (tmp_path / "out").exists()


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit) as stop:
        run.main(["--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for flag in run.parser().flags():
        assert flag in printed


# The plan


def test_dry_run_prints_the_plan_and_makes_nothing(tmp_path):
    result = command(tmp_path / "out", TINY, "--n-bits 2 4 float --update nearest latent --dry-run")
    assert result.code == 0
    assert "5 cells x 2 seeds = 10 replicas in 2 groups, 2 chunks; nothing was run." in re.sub(
        r"\s+", " ", result.printed
    )
    assert list(tmp_path.iterdir()) == []


def test_every_combination_is_planned():
    cells = planned(
        "--n-layers 0 1 --hidden-width 4 8 --n-bits 2 4 --lr 0.1 1 --scope global local"
    )
    assert len(cells) == len(set(cells)) == 2**5


def test_repeated_values_are_planned_once():
    assert planned("--n-bits 4 4 float float --lr 1 1.0") == planned("--n-bits 4 float --lr 1")


@pytest.mark.parametrize(
    ("words", "optimizer", "lr", "gamma", "batch"),
    [
        ("--n-bits 4", "adadelta", 1.0, 0.7, 64),
        ("--algorithm hsic --n-bits 4", "sgd", 1.0, 1.0, 64),
        ("--algorithm hsic --n-bits float", "sgd", 1.0, 1.0, 128),
        ("--algorithm hsic --n-bits float --batch-size 32", "sgd", 1.0, 1.0, 32),
        ("--optimizer sgd", "sgd", 0.1, 0.7, 64),
        ("--optimizer adam", "adam", 1e-3, 0.7, 64),
        ("--optimizer adam --lr 0.5 --gamma 1", "adam", 0.5, 1.0, 64),
    ],
)
def test_defaults_are_those_the_help_promises(words, optimizer, lr, gamma, batch):
    (cell,) = planned(words)
    assert (cell.optimizer, cell.lr, cell.gamma, cell.batch_size) == (optimizer, lr, gamma, batch)


def test_only_hsic_has_readout_epochs():
    found = {c.algorithm: c.readout_epochs for c in planned("--algorithm backprop fa dni hsic")}
    assert found == {"backprop": 0, "fa": 0, "dni": 0, "hsic": 5}
