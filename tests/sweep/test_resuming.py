"""Runs that are interrupted end as if nothing had happened: real processes, and checkpoints."""

import dataclasses
import json
import os
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import TINY
from jax.sharding import NamedSharding, PartitionSpec
from programs import Result, command, planned, recorded, start, wait_until, weights_of

from experiments import run
from experiments.cells import Chunk
from experiments.data import load
from experiments.store import Store
from experiments.sweep import chunk as chunk_module
from experiments.sweep import make_mesh
from experiments.sweep.checkpoint import Checkpoint
from experiments.sweep.chunk import run_chunk
from experiments.sweep.networks import Save, file_of

# Interruptions of real processes

LONG = f"{TINY} --seeds 1 --n-bits 4 --epochs 60"
# The command line as `python -m experiments.run ... &` in a script starts it: deaf to Ctrl-C.
BACKGROUND = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
from experiments import run
sys.exit(run.main(sys.argv[1:]))
"""


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted")
    process = start(out, LONG)
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
    process = start(out, LONG)
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
    again = start(out, LONG, "--resume")
    words, _ = again.communicate(timeout=120)
    resumed = Result(out, again.returncode, words)
    return Interrupted(
        out, process.returncode, printed, errors, row["status"], epochs,
        saved, resumed,
    )


@pytest.fixture(scope="session")
def stopped(tmp_path_factory):
    """By Ctrl-C; `test_surviving` kills."""
    return interrupt(tmp_path_factory.mktemp("stopped"), signal.SIGINT)


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(stopped):
    assert stopped.code == 130
    assert stopped.status == "interrupted"
    assert 0 < stopped.checkpoint <= stopped.epochs < 60
    assert "Interrupted: 0 of 1 replica finished" in stopped.printed
    assert "--resume" in stopped.printed
    assert "Traceback" not in stopped.errors


def test_after_ctrl_c_resume_ends_as_if_nothing_had_happened(stopped, uninterrupted):
    assert stopped.resumed.code == 0
    assert stopped.resumed.numbers == uninterrupted.numbers


def test_a_resumed_run_cleans_up(stopped):
    assert not list((stopped.out / "checkpoints").glob("*"))


def test_ctrl_c_while_the_program_compiles_ends_with_130(tmp_path):
    process = start(tmp_path, LONG)
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


@pytest.mark.thorough
def test_sigterm_ends_a_run_in_the_background_of_a_script(tmp_path):
    process = start(tmp_path, LONG, "--epochs 100000", program=("-c", BACKGROUND))
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
            chunk, DIGITS, store, folder, resume=resume, **{"save": Save("final")} | more
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
        weights |= {(replica.id, name): np.asarray(tensor).tolist()
                    for name, tensor in weights_of(folder, replica.id).items()}
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


@pytest.mark.thorough(but=1)
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


def test_what_a_killed_program_was_writing_is_cleared_away(tmp_path, capfd):
    left = tmp_path / "chunk" / "10.orbax-checkpoint-tmp"
    left.mkdir(parents=True)
    with Checkpoint(tmp_path / "chunk", []) as checkpoint:
        assert checkpoint.epoch == 0
    assert not left.exists()
    assert "already exists" not in capfd.readouterr().err


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


def test_a_stop_after_the_last_checkpoint_loses_nothing(tmp_path):
    words = f"{TINY} --n-bits 3 --seeds 2 --epochs 2"
    train(tmp_path, Chunk(tuple(planned(words)), (0, 1)), stop=2)
    before = Result(tmp_path, 0, "").numbers
    result = command(tmp_path, words, "--resume")
    assert result.code == 0
    assert {r["status"] for r in result.replicas} == {"done"}
    assert result.numbers[1:] == before[1:]
    assert "2 replicas, 2 epochs; 100% done" in result.printed


@pytest.mark.parametrize(("before", "later"), [(1, 0), (0, 1)])
def test_devices_may_be_others_than_before(tmp_path, monkeypatch, before, later):
    """Their number decides how many places are filled up."""
    fill = chunk_module._fill
    words = []
    for more, resume in ((before, False), (later, True)):
        monkeypatch.setattr(chunk_module, "_fill", lambda items, multiple, more=more: (
            *fill(items, multiple), *[items[-1]] * (more * multiple)))
        trained = train(tmp_path, chunk_of("backprop"), stop=None if resume else 2, resume=resume,
                        warn=words.append)
    assert trained == [2]
    assert not words


@pytest.mark.parametrize("later", [(2, 3), (3, 3), (3, 5), (4, 4)])
def test_places_that_only_fill_up_are_dropped_or_repeated(tmp_path, later):
    mesh = make_mesh(1, 1)

    def states(places):
        rows = np.minimum(np.arange(places[0]), 1)[:, None, None]  # two seeds and three cells
        columns = np.minimum(np.arange(places[1]), 2)[:, None]
        values = np.broadcast_to(10 * rows + columns, (*places, 4)).astype(np.float32)
        return {"a": jax.device_put(values, NamedSharding(mesh, PartitionSpec("seeds", "configs")))}

    with Checkpoint(tmp_path, []) as checkpoint:
        checkpoint.save(1, 2.0, states((3, 4)))
        wanted = states(later)
        found = checkpoint.restore(jax.tree.map(jnp.zeros_like, wanted))
        assert checkpoint.seconds() == 2.0
    np.testing.assert_array_equal(found["a"], wanted["a"])
    assert found["a"].sharding == wanted["a"].sharding


def test_what_holds_no_state_or_others_members_does_not_hide_a_checkpoint(tmp_path):
    words = f"{TINY} --n-bits 3 --seeds 1 --epochs 3"
    chunk = Chunk(tuple(planned(words)), (0,))
    train(tmp_path, chunk, stop=2)
    for folder, members in (("0", [chunk.replicas[0].id, "gone"]), ("1", [chunk.replicas[0].id])):
        other = tmp_path / "checkpoints" / folder
        other.mkdir()
        (other / "members.json").write_text(json.dumps(members))
        if folder == "0":
            (other / "2").mkdir()
    result = command(tmp_path, words, "--resume")
    assert "From their checkpoints: 1 replica" in result.printed


def test_the_best_network_is_saved_also_where_an_earlier_run_saved_none(tmp_path):
    chunk = chunk_of("backprop")
    train(tmp_path, chunk, stop=2, save=Save("none"))
    train(tmp_path, chunk, resume=True, save=Save("best"))
    assert all(file_of(tmp_path, replica.id).exists() for replica in chunk.replicas)


def test_there_is_no_checkpoint_at_first(tmp_path):
    with Checkpoint(tmp_path / "nobody", []) as checkpoint:
        assert checkpoint.epoch == 0


@pytest.mark.thorough(but=1)
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


def test_a_run_that_leaves_a_checkpoint_alone_says_so(tmp_path, capsys):
    words = f"{TINY} --memory stochastic --n-bits 3 --seeds 1 --epochs 2"
    train(tmp_path, Chunk(tuple(planned(words)), (0,)), stop=1)
    assert run.main([*words.split(), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Checkpoints of 1 replica are here, which start over now; --resume goes on" in printed
    assert "stochastic: 1 replica, 2 epochs" in printed


@pytest.mark.thorough
def test_a_run_resumes_chunks_as_they_were_cut(tmp_path):
    """Whatever the plan is now: here memory is scarcer, and a seed was added."""
    words = f"{TINY} --n-bits 3 4 --epochs 3"
    train(tmp_path, Chunk(tuple(planned(words)), (0, 1)), stop=2)
    result = command(tmp_path, words, "--resume --seeds 3 --memory-limit 1M")
    assert "From their checkpoints: 4 replicas, backprop digits (0,4) nearest." in result.printed
    assert {r["status"] for r in result.replicas} == {"done"}
    assert len(result.replicas) == 6
    # The same cut trained at once (that of the added seed is another: its rounding may differ).
    other = command(tmp_path / "anew", words, "--seeds 2")
    finals, *tables = result.numbers
    expected, *others = other.numbers
    assert {i: finals[i] for i in expected} == expected
    assert [[r for r in rows if r["replica"] in expected] for rows in tables] == others
