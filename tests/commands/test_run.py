"""The command line: what it refuses, what it trains and keeps, and how it goes on after a kill."""

import contextlib
import dataclasses
import io
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from examples import TINY

from experiments import run
from experiments.cells import Chunk, Replica
from experiments.data import load
from experiments.store import FILE_NAME, Store
from experiments.sweep import sweep
from experiments.sweep.checkpoint import Checkpoint
from experiments.sweep.chunk import run_chunk
from qjax.algorithms import ALGORITHMS

ROOT = Path(__file__).parents[2]
FINALS = ("status", "test_accuracy", "test_loss", "train_accuracy", "train_loss", "diverged_epoch")


@dataclasses.dataclass
class Result:
    """What a command left."""

    out: Path
    code: int
    printed: str

    @property
    def replicas(self):
        with Store(self.out, create=False) as store:
            return store.replicas()

    @property
    def numbers(self):
        """All numbers by replica: the final ones, those of all epochs and of all ranges."""
        with Store(self.out, create=False) as store:
            finals = {r["id"]: {name: r[name] for name in FINALS} for r in store.replicas()}
            return finals, store.history("epochs"), store.history("ranges")


def command(out, *words):
    """Runs the command line in this process."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = run.main([*" ".join(words).split(), "--out", str(out)])
    return Result(out, code, text.getvalue())


def subprocess_of(out, *words, program=("-m", "experiments.run")):
    return subprocess.Popen(
        [sys.executable, *program, *" ".join(words).split(), "--out", str(out)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )


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
        ("--network lenet", "lenet needs images of 28x28, digits has smaller ones"),
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
    process = subprocess_of(tmp_path / "out", "--algorithm backprp")
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


def planned(words):
    return run.cells_of(run.parser().parse_args(words.split()))


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


# Training


@pytest.fixture(scope="session")
def everything(tmp_path_factory):
    """All algorithms, 3 bits and float, with final weights."""
    return command(
        tmp_path_factory.mktemp("everything"), TINY,
        "--algorithm backprop fa dni hsic --n-bits 3 float --epochs 1 --readout-epochs 1",
        "--quantizer asymm --save-params",
    )


@pytest.fixture(scope="session")
def basic(tmp_path_factory):
    """backprop, 2 bits and float, two epochs."""
    return command(tmp_path_factory.mktemp("basic"), TINY, "--epochs 2 --n-bits 2 float")


@pytest.fixture
def copy(basic, tmp_path):
    """The folder of `basic` for a test that changes it."""
    return Path(shutil.copytree(basic.out, tmp_path / "copy"))


@pytest.mark.parametrize("algorithm", ["backprop", "fa", "dni", "hsic"])
@pytest.mark.parametrize("bits", [3, None])
def test_every_algorithm_trains(everything, algorithm, bits):
    rows = [
        r for r in everything.replicas if (r["algorithm"], r["n_bits"]) == (algorithm, bits)
    ]
    assert [(r["seed"], r["status"]) for r in rows] == [(0, "done"), (1, "done")]
    assert all(0 <= r["test_accuracy"] <= 100 and r["test_loss"] > 0 for r in rows)
    assert all(r["seconds"] > 0 for r in rows)


def test_a_run_ends_well(everything):
    assert everything.code == 0
    assert str(everything.out / FILE_NAME) in "".join(everything.printed.split("\n"))


def test_hsic_scores_its_readout_only(everything):
    _, epochs, _ = everything.numbers
    ids = {r["id"] for r in everything.replicas if r["algorithm"] == "hsic"}
    scored = {(e["phase"], e["test_accuracy"] is not None) for e in epochs if e["replica"] in ids}
    assert scored == {("bottleneck", False), ("readout", True)}


def test_where_results_come_from_is_stored(everything):
    row = everything.replicas[0]
    assert all(row[name] for name in ("device", "jax", "jaxlib", "qjax"))


def test_a_finished_run_leaves_no_checkpoint(everything):
    assert not list((everything.out / "checkpoints").glob("*"))


def test_final_weights_of_every_replica_are_saved(everything):
    names = {p.stem for p in (everything.out / "params").iterdir()}
    assert names == {r["id"] for r in everything.replicas}


def test_quantized_weights_have_at_most_their_levels(everything):
    for row in everything.replicas:
        if row["n_bits"] is not None:
            with np.load(everything.out / "params" / f"{row['id']}.npz") as tensors:
                for name, tensor in tensors.items():
                    assert len(np.unique(tensor)) <= 2 ** row["n_bits"], (row["algorithm"], name)


def test_unquantized_weights_are_not_on_a_grid(everything):
    (row,) = (
        r for r in everything.replicas
        if (r["algorithm"], r["n_bits"], r["seed"]) == ("backprop", None, 0)
    )
    with np.load(everything.out / "params" / f"{row['id']}.npz") as tensors:
        assert max(len(np.unique(tensor)) for tensor in tensors.values()) > 2**3


def test_saved_weights_lie_in_the_recorded_ranges(everything):
    _, _, ranges = everything.numbers
    last = {(r["replica"], r["tensor"]): r for r in ranges}  # by epoch: the last one stays
    for row in everything.replicas:
        with np.load(everything.out / "params" / f"{row['id']}.npz") as tensors:
            for name, tensor in tensors.items():
                limits = last[row["id"], name]
                assert limits["low"] <= tensor.min()
                assert tensor.max() <= limits["high"]


def test_a_run_stores_what_it_prints(basic):
    for bits in (2, None):
        values = [r["test_accuracy"] for r in basic.replicas if r["n_bits"] == bits]
        assert f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}" in basic.printed


def test_final_numbers_are_those_of_the_last_epoch(basic):
    finals, epochs, _ = basic.numbers
    last = {e["replica"]: e for e in epochs}
    for replica, final in finals.items():
        assert last[replica]["epoch"] == 1
        assert final["test_accuracy"] == last[replica]["test_accuracy"]
        assert final["train_loss"] == last[replica]["train_loss"]


def test_seeds_differ(basic):
    losses = [r["train_loss"] for r in basic.replicas]
    assert len(set(losses)) == len(losses) == 4


def test_training_learns_something(basic):
    _, epochs, _ = basic.numbers
    ids = {r["id"] for r in basic.replicas if r["n_bits"] is None}
    first, second = ([e["train_loss"] for e in epochs if e["replica"] in ids and e["epoch"] == n]
                     for n in (0, 1))
    assert np.mean(second) < np.mean(first) < 2.5


def test_a_second_identical_run_trains_nothing(basic, copy):
    again = command(copy, TINY, "--epochs 2 --n-bits 2 float")
    assert again.code == 0
    assert "4 of 4 replicas are in" in again.printed
    assert "already" in again.printed
    assert again.replicas == basic.replicas  # with their times


def test_the_results_of_an_earlier_run_are_printed_again(basic, copy):
    again = command(copy, TINY, "--epochs 2 --n-bits 2 float")
    table = basic.printed[basic.printed.index("Test accuracy"):basic.printed.index("All:")]
    assert table in again.printed


def test_another_seed_runs_only_that_one(basic, copy):
    more = command(copy, TINY, "--epochs 2 --n-bits 2 float --seeds 3")
    assert "4 of 6 replicas are in" in more.printed
    old = [r for r in more.replicas if r["seed"] < 2]
    assert old == basic.replicas
    assert [r["status"] for r in more.replicas if r["seed"] == 2] == ["done", "done"]


@pytest.fixture(scope="session")
def second(tmp_path_factory):
    """The command of `basic` in another folder."""
    return command(tmp_path_factory.mktemp("second"), TINY, "--epochs 2 --n-bits 2 float")


def test_two_runs_agree_bit_for_bit(basic, second):
    assert basic.numbers == second.numbers


def test_a_replica_does_not_depend_on_its_group(basic, tmp_path):
    alone = command(tmp_path, TINY, "--epochs 2 --n-bits float --seeds 1")
    (row,) = alone.replicas
    (same,) = (r for r in basic.replicas if r["id"] == row["id"])
    for name in ("test_accuracy", "test_loss", "train_accuracy", "train_loss"):
        assert row[name] == pytest.approx(same[name], rel=1e-5)


@pytest.fixture(scope="session")
def rules(tmp_path_factory):
    """Two update rules, several values on the other axes."""
    return command(
        tmp_path_factory.mktemp("rules"), TINY, "--epochs 1 --seeds 1 --n-bits 2 5 float",
        "--update stochastic latent --gradient-bits 4 8 --quantizer symm asymm",
        "--scope global local --lr 0.5 1",
    )


def test_every_combination_is_trained(rules):
    quantized = [r for r in rules.replicas if r["n_bits"] is not None]
    assert len(quantized) == 2 * 2 * 2 * 2 * 2 * 2
    assert len(rules.replicas) == len(quantized) + 2 * 2  # float: gradient bits and rates
    assert {r["status"] for r in rules.replicas} == {"done"}


@pytest.mark.parametrize("name", ["n_bits", "update", "gradient_bits", "quantizer", "scope", "lr"])
def test_every_axis_changes_the_result(rules, name):
    """Replicas that differ in this axis only do not all have the same loss."""
    names = ("n_bits", "update", "gradient_bits", "quantizer", "scope", "lr")
    families = {}
    for row in rules.replicas:
        if row["n_bits"] is not None:
            key = tuple(row[n] for n in names if n != name)
            families.setdefault(key, set()).add(row["train_loss"])
    assert sum(len(losses) > 1 for losses in families.values()) > len(families) / 2


@pytest.fixture(scope="session")
def device(tmp_path_factory):
    """Weights of 2 bits in [-1, 1] with a gain, biases free, all schedules."""
    return command(
        tmp_path_factory.mktemp("device"), TINY, "--algorithm backprop dfa --epochs 2 --n-bits 2",
        "--scope global --update stochastic --optimizer adam --lr 0.01 --gain 1 2 --bias float",
        "--schedule constant exponential linear cosine --save-params --dataset digits_holdout",
    )


def test_free_biases_and_ternary_weights(device):
    assert {r["status"] for r in device.replicas} == {"done"}
    for row in device.replicas:
        with np.load(device.out / "params" / f"{row['id']}.npz") as tensors:
            for name, tensor in tensors.items():
                if name.endswith("kernel"):
                    assert set(np.unique(tensor)) <= {-1.0, 0.0, 1.0}
                else:
                    assert len(np.unique(tensor)) == tensor.size


@pytest.mark.parametrize("name", ["schedule", "gain", "algorithm"])
def test_gains_and_schedules_change_the_result(device, name):
    names = ("schedule", "gain", "algorithm", "seed")
    families = {}
    for row in device.replicas:
        key = tuple(row[n] for n in names if n != name)
        families.setdefault(key, []).append(row["train_loss"])
    assert all(len(set(losses)) == len(losses) > 1 for losses in families.values())


def test_synthesizers_are_floats_if_they_have_a_rate_of_their_own(tmp_path):
    found = command(
        tmp_path, TINY, "--algorithm dni_linear --epochs 1 --seeds 1 --n-bits 2 float",
        "--scope global",
        "--hidden-width 20 --update stochastic --optimizer adam --synthesizer-lr none 0.01 0.1",
        "--save-params",
    ).replicas
    assert len(found) == 2 * 3
    assert len({r["train_loss"] for r in found}) == 2 * 3
    for row in (r for r in found if r["n_bits"] == 2):
        with np.load(tmp_path / "params" / f"{row['id']}.npz") as tensors:
            assert {name.split("/")[0] for name in tensors} == {"blocks", "synthesizers"}
            for name, tensor in tensors.items():
                free = name.startswith("synthesizers") and row["synthesizer_lr"] is not None
                assert (set(np.unique(tensor)) <= {-1.0, 0.0, 1.0}) is not free


@pytest.fixture(scope="session")
def diverging(tmp_path_factory):
    """A learning rate that no network survives."""
    return command(
        tmp_path_factory.mktemp("diverging"), TINY,
        "--epochs 2 --n-bits float --optimizer sgd --lr 1e30 0.1",
    )


def test_divergence_is_recorded_and_no_failure(diverging):
    assert diverging.code == 0
    assert [(r["lr"], r["status"]) for r in diverging.replicas] == [
        (0.1, "done"), (0.1, "done"), (1e30, "diverged"), (1e30, "diverged"),
    ]


def test_divergence_of_some_does_not_touch_the_others(diverging):
    assert all(r["test_loss"] < 10 for r in diverging.replicas if r["status"] == "done")


def test_divergence_is_printed(diverging):
    assert "(2 diverged)" in diverging.printed


def test_a_diverged_replica_is_not_run_again(diverging):
    again = command(diverging.out, TINY, "--epochs 2 --n-bits float --optimizer sgd --lr 1e30")
    assert "2 of 2 replicas are in" in again.printed


def test_the_path_of_the_results_is_printed_as_it_is(basic, tmp_path):
    out = Path(shutil.copytree(basic.out, tmp_path / "run[b]1"))
    again = command(out, TINY, "--epochs 2 --n-bits 2 float")
    assert "run[b]1" in "".join(again.printed.split("\n"))


# Interruptions of real processes

LONG = f"{TINY} --seeds 1 --n-bits 4 --epochs 150"
# The command line as `python -m experiments.run ... &` in a script starts it: deaf to Ctrl-C.
BACKGROUND = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
from experiments import run
sys.exit(run.main(sys.argv[1:]))
"""


def wait_until(condition, process, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def recorded(out, table="epochs"):
    """Rows in the store, 0 where there is none yet."""
    with contextlib.suppress(sqlite3.Error):
        db = sqlite3.connect(f"file:{out / FILE_NAME}?mode=ro", uri=True)
        with contextlib.closing(db):
            return db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return 0


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted")
    process = subprocess_of(out, LONG)
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return Result(out, 0, printed)


@dataclasses.dataclass
class Interrupted(Result):
    """A run that was stopped: what it left in the meantime, and what became of it."""

    errors: str
    status: str
    epochs: int
    checkpoint: int | None
    resumed: Result


def interrupt(out, number):
    """Stops a run by a signal once it has a checkpoint, then resumes it."""
    process = subprocess_of(out, LONG)
    try:
        steps = out / "checkpoints"
        wait_until(
            lambda: recorded(out) and any(p.name.isdigit() for p in steps.glob("*/*")), process
        )
        process.send_signal(number)
        printed, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    with Store(out, create=False) as store:
        (row,), epochs = store.replicas(), len(store.history("epochs"))
    (chunk,) = steps.iterdir()
    with Checkpoint(chunk, []) as checkpoint:
        saved = checkpoint.epoch
    again = subprocess_of(out, LONG, "--resume")
    words, _ = again.communicate(timeout=120)
    resumed = Result(out, again.returncode, words)
    return Interrupted(
        out, process.returncode, printed, errors, row["status"], epochs,
        saved, resumed,
    )


@pytest.fixture(scope="session")
def killed(tmp_path_factory):
    return interrupt(tmp_path_factory.mktemp("killed"), signal.SIGKILL)


@pytest.fixture(scope="session")
def stopped(tmp_path_factory):
    return interrupt(tmp_path_factory.mktemp("stopped"), signal.SIGINT)


def test_kill_9_leaves_a_checkpoint_and_a_running_replica(killed):
    assert killed.code == -signal.SIGKILL
    assert killed.status == "running"
    assert 0 < killed.checkpoint <= killed.epochs < 150


def test_after_kill_9_resume_ends_as_if_nothing_had_happened(killed, uninterrupted):
    assert killed.resumed.code == 0
    assert killed.resumed.numbers == uninterrupted.numbers


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(stopped):
    assert stopped.code == 130
    assert "Interrupted: 0 of 1 replicas are finished" in stopped.printed
    assert "--resume" in stopped.printed
    assert "Traceback" not in stopped.errors


def test_after_ctrl_c_resume_ends_as_if_nothing_had_happened(stopped, uninterrupted):
    assert stopped.resumed.code == 0
    assert stopped.resumed.numbers == uninterrupted.numbers


@pytest.mark.parametrize("name", ["killed", "stopped"])
def test_a_resumed_run_cleans_up(name, request):
    result = request.getfixturevalue(name)
    assert not list((result.out / "checkpoints").glob("*"))


def test_ctrl_c_while_the_program_compiles_ends_with_130(tmp_path):
    process = subprocess_of(tmp_path, LONG)
    try:
        wait_until(lambda: recorded(tmp_path, "replicas"), process)
        time.sleep(0.4)
        assert recorded(tmp_path) == 0
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "Interrupted" in printed
    assert process.returncode == 130


def test_sigterm_ends_a_run_in_the_background_of_a_script(tmp_path):
    process = subprocess_of(tmp_path, LONG, "--epochs 100000", program=("-c", BACKGROUND))
    try:
        wait_until(lambda: recorded(tmp_path), process)
        process.terminate()
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "Interrupted" in printed


# Checkpoints

DIGITS = load("digits")


def chunk_of(algorithm):
    words = "--hidden-width 4 --n-layers 0 --n-bits 3 float --batch-size 64 --epochs 3"
    cells = planned(f"{words} --readout-epochs 2 --algorithm {algorithm} --update stochastic")
    return Chunk(tuple(cells), (5, 6))


def train(folder, chunk, stop=None, resume=False, **more):
    """Numbers of the epochs trained; ends without a word after `stop` of them."""
    seen = []
    with Store(folder) as store:
        store.claim(chunk.replicas, {})
        epochs = run_chunk(
            chunk, DIGITS, store, folder, resume=resume, save_params=True, **more
        )
        for report in epochs:
            seen.append(report.epoch)
            if len(seen) == stop:
                epochs.close()
                break
    return seen


def numbers_and_weights(folder, chunk):
    weights = {}
    for replica in chunk.replicas:
        with np.load(folder / "params" / f"{replica.id}.npz") as tensors:
            weights |= {(replica.id, name): tensor.tolist() for name, tensor in tensors.items()}
    return Result(folder, 0, "").numbers, weights


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Chunks trained without a stop: numbers and weights."""
    results = {}
    for algorithm in ("backprop", "hsic"):
        folder, chunk = tmp_path_factory.mktemp("whole"), chunk_of(algorithm)
        train(folder, chunk, checkpoint_every=100)
        results[algorithm] = numbers_and_weights(folder, chunk)
    return results


@pytest.mark.parametrize(
    ("algorithm", "stop"),
    [("backprop", 2), ("hsic", 2), ("hsic", 3), ("hsic", 4)],
    ids=["backprop", "bottleneck", "between phases", "readout"],
)
def test_resuming_continues_where_the_checkpoint_is(tmp_path, whole, algorithm, stop):
    chunk, total = chunk_of(algorithm), 3 if algorithm == "backprop" else 5
    assert train(tmp_path, chunk, stop=stop) == list(range(stop))
    assert train(tmp_path, chunk, resume=True) == list(range(stop, total))
    assert numbers_and_weights(tmp_path, chunk) == whole[algorithm]


def test_a_checkpoint_of_other_replicas_is_not_used(tmp_path):
    chunk = chunk_of("backprop")
    train(tmp_path, chunk, stop=1)
    other = Chunk(chunk.cells[:1], (9,))
    assert train(tmp_path, other, resume=True) == [0, 1, 2]


def test_without_resume_a_run_starts_over_and_its_own_checkpoints_count(tmp_path):
    chunk = Chunk(chunk_of("backprop").cells[:1], (5,))
    train(tmp_path, chunk, stop=2)
    assert train(tmp_path, chunk, stop=1) == [0]
    assert train(tmp_path, chunk, resume=True) == [1, 2]
    with Store(tmp_path) as store:
        assert [e["epoch"] for e in store.history("epochs")] == [0, 1, 2]


def test_a_fresh_run_may_save_the_epoch_that_an_old_checkpoint_has(tmp_path):
    chunk = Chunk(chunk_of("backprop").cells[:1], (5,))
    train(tmp_path, chunk, stop=1)
    assert train(tmp_path, chunk) == [0, 1, 2]


def saved_in(folder, chunk):
    """(epoch, seconds) of a chunk's checkpoint."""
    with Checkpoint(folder / "checkpoints" / chunk.id, []) as checkpoint:
        return checkpoint.epoch, checkpoint.seconds()


def test_resuming_keeps_the_time_already_spent(tmp_path):
    chunk = Chunk(chunk_of("backprop").cells[:1], (5,))
    train(tmp_path, chunk, stop=1)
    _, before = saved_in(tmp_path, chunk)
    train(tmp_path, chunk, resume=True)
    assert Result(tmp_path, 0, "").replicas[0]["seconds"] > before > 0


def test_checkpoints_come_every_so_many_epochs(tmp_path):
    chunk = Chunk(chunk_of("backprop").cells[:1], (5,))
    train(tmp_path, chunk, stop=3, checkpoint_every=2)
    assert saved_in(tmp_path, chunk)[0] == 2
    assert train(tmp_path, chunk, resume=True) == [2]


def test_there_is_no_checkpoint_at_first(tmp_path):
    with Checkpoint(tmp_path / "nobody", []) as checkpoint:
        assert checkpoint.epoch == 0


@pytest.mark.parametrize("damage", ["truncate", "remove", "garble"])
def test_a_damaged_checkpoint_is_reported_and_the_chunk_starts_anew(
    tmp_path, whole, damage
):
    chunk = chunk_of("backprop")
    train(tmp_path, chunk, stop=2)
    files = [f for f in (tmp_path / "checkpoints").rglob("*")
             if f.is_file() and "states" in f.parts]
    for file in files:
        if damage == "truncate":
            os.truncate(file, file.stat().st_size // 2)
        elif damage == "remove":
            file.unlink()
        else:
            file.write_bytes(bytes(255 - b for b in file.read_bytes()))
    words = []
    assert train(tmp_path, chunk, resume=True, warn=words.append) == [0, 1, 2]
    assert "cannot read checkpoint" in words[0]
    assert "start anew" in words[0]
    assert numbers_and_weights(tmp_path, chunk) == whole["backprop"]


def test_a_checkpoint_of_a_longer_training_is_not_used(tmp_path):
    chunk = Chunk(chunk_of("backprop").cells[:1], (5,))
    train(tmp_path, chunk, stop=3)
    shorter = Chunk((dataclasses.replace(chunk.cells[0], epochs=2),), (5,))
    saves = tmp_path / "checkpoints"
    (saves / chunk.id).rename(saves / shorter.id)
    words = []
    assert train(tmp_path, shorter, resume=True, warn=words.append) == [0, 1]
    assert len(words) == 1


def test_a_run_resumes_chunks_as_they_were_cut(tmp_path):
    """Whatever the plan is now: here memory is scarcer, and a seed was added."""
    words = f"{TINY} --n-bits 3 4 --epochs 3"
    train(tmp_path, Chunk(tuple(planned(words)), (0, 1)), stop=2)
    result = command(tmp_path, words, "--resume --seeds 3 --memory-limit 1M")
    assert "4 replicas go on from their checkpoints" in result.printed
    assert {r["status"] for r in result.replicas} == {"done"}
    assert len(result.replicas) == 6
    # The same cut trained at once (that of the added seed is another: its rounding may differ).
    other = command(tmp_path / "anew", words, "--seeds 2")
    finals, *tables = result.numbers
    expected, *others = other.numbers
    assert {i: finals[i] for i in expected} == expected
    assert [[r for r in rows if r["replica"] in expected] for rows in tables] == others


def test_a_failed_replica_is_tried_again(tmp_path):
    words = f"{TINY} --seeds 1 --epochs 1 --n-bits 4"
    (cell,) = planned(words)
    replica = Replica(cell, 0)
    with Store(tmp_path) as store:
        store.claim([replica], {"device": "x"})
        store.fail([replica.id])
    assert [r["status"] for r in command(tmp_path, words).replicas] == ["done"]


def failing(monkeypatch, message, when):
    """Makes chunks for which `when` holds end as if the device had reported `message`."""
    def failing_run(chunk, *args, **kwargs):
        if when(chunk):
            raise jax.errors.JaxRuntimeError(message)
        yield from run_chunk(chunk, *args, **kwargs)

    monkeypatch.setattr(sweep, "run_chunk", failing_run)


def test_a_program_that_fails_is_reported_and_the_others_go_on(tmp_path, monkeypatch):
    failing(monkeypatch, "INTERNAL: broken\nmore", lambda chunk: chunk.cells[0].n_layers == 1)
    result = command(tmp_path, TINY, "--seeds 1 --epochs 1 --n-bits 4 --n-layers 1 0")
    assert result.code == 1
    assert "1 replicas: INTERNAL: broken" in result.printed
    assert "1 replicas failed" in result.printed
    assert sorted((r["n_layers"], r["status"]) for r in result.replicas) == [
        (0, "done"), (1, "failed")
    ]


def test_out_of_memory_halves_the_chunk_and_goes_on(tmp_path, monkeypatch):
    failing(monkeypatch, "RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes",
            lambda chunk: len(chunk.replicas) > 2)
    result = command(tmp_path, TINY, "--seeds 2 --epochs 1 --n-bits 4 5 float")
    assert result.code == 0
    assert result.printed.count("out of memory") == 2  # 6, then 4 (and 2): 2 + 2 + 2
    assert [r["status"] for r in result.replicas] == ["done"] * 6


def test_what_does_not_fit_alone_fails(tmp_path, monkeypatch):
    failing(monkeypatch, "RESOURCE_EXHAUSTED: Out of memory", lambda chunk: True)
    result = command(tmp_path, TINY, "--seeds 1 --epochs 1 --n-bits 4 5")
    assert result.code == 1
    assert [r["status"] for r in result.replicas] == ["failed"] * 2


def test_a_new_algorithm_needs_nothing_but_its_name(tmp_path, monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "fifth", ALGORITHMS["backprop"])
    command(tmp_path, TINY, "--algorithm fifth backprop --epochs 1")
    with Store(tmp_path, create=False) as store:
        losses = {(r["algorithm"], r["seed"]): r["test_loss"] for r in store.replicas()}
    assert len(losses) == 4
    for seed in range(2):
        assert losses["fifth", seed] == losses["backprop", seed]
