"""What happens to a running sweep: kills, other runners, full disks, vanished files."""

import json
import random
import resource
import signal
import sqlite3
import time

import pytest
from programs import finish, numbers, recorded, start, wait_until

from experiments.store import FILE_NAME
from experiments.sweep.checkpoint import Checkpoint

# Two chunks of a few short epochs, two phases in one of them.
SWEEP = ("--algorithm backprop hsic --dataset digits --hidden-width 4 --n-layers 0 --seeds 2 "
         "--n-bits 4 5 --batch-size 64 --epochs 12 --readout-epochs 6")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    finish(start(out, SWEEP))
    return numbers(out)


def query(out, text):
    db = sqlite3.connect(out / FILE_NAME)
    try:
        return db.execute(text).fetchall()
    finally:
        db.close()


def lost(out):
    """Epochs that the store has of a chunk and the chunk's checkpoint has not."""
    counts = dict(query(out, "SELECT replica, count(*) FROM epochs GROUP BY replica"))
    running = {i for (i,) in query(out, "SELECT id FROM replicas WHERE status = 'running'")}
    epochs = 0
    for folder in (out / "checkpoints").glob("*"):
        members = set(json.loads((folder / "members.json").read_text()))
        running -= members
        with Checkpoint(folder, []) as checkpoint:
            most = max(counts.get(member, 0) for member in members)
            epochs = max(epochs, most - checkpoint.epoch)
    return max([epochs, *(counts.get(i, 0) for i in running)])


def wait_for_rows(out, rows, process):
    """Until the store has so many epochs, and a replica, or the process has come to its end."""
    while process.poll() is None:
        if recorded(out, "replicas") and recorded(out) >= rows:
            return
        time.sleep(0.01)


def test_kill_9_at_any_moment_costs_one_epoch_at_most_and_changes_no_number(
    tmp_path, undisturbed
):
    moments = random.Random(0)
    kills = 0
    for _ in range(2):
        process = start(tmp_path, SWEEP, "--resume")
        # While compiling, or some epochs (of 4 replicas) into the training.
        more = moments.choice([0, 4, 12, 24])
        wait_for_rows(tmp_path, recorded(tmp_path) + more, process)
        time.sleep(moments.uniform(0, 0.2))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        assert query(tmp_path, "PRAGMA integrity_check") == [("ok",)]
        assert lost(tmp_path) <= 1
    assert kills == 2
    finish(start(tmp_path, SWEEP, "--resume"))
    assert numbers(tmp_path) == undisturbed


def test_two_runners_share_the_work_and_repeat_none_of_it(tmp_path, undisturbed):
    both = [start(tmp_path, SWEEP, "--memory-limit 1M") for _ in range(2)]
    printed = [finish(process)[0] for process in both]
    lines = [line for text in printed for line in text.splitlines() if " replicas, " in line]
    assert sum(int(line.split(": ")[1].split()[0]) for line in lines) == 8
    finals, *_ = numbers(tmp_path)
    assert {row["status"] for row in finals.values()} == {"done"}
    assert finals.keys() == undisturbed[0].keys()
    assert not list(tmp_path.glob(".running-*"))


def test_a_second_runner_leaves_alone_what_the_first_is_training(tmp_path):
    first = start(tmp_path, SWEEP, "--epochs 100000 --algorithm backprop")
    try:
        wait_until(lambda: recorded(tmp_path), first)
        printed, _ = finish(start(tmp_path, SWEEP, "--epochs 100000 --algorithm backprop"))
        assert "Being trained by another run on this folder: 4 replicas." in printed
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()


def too_large_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def test_a_disk_that_takes_no_more_ends_the_run_and_leaves_the_store_intact(tmp_path):
    words = f"{SWEEP} --epochs 3000 --algorithm backprop --checkpoint-every 1000"
    printed, errors = finish(start(tmp_path, words, preexec_fn=too_large_files), code=1)
    assert "error: cannot write" in printed
    assert "--resume" in printed
    assert "Traceback" not in errors
    assert query(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    assert recorded(tmp_path) > 0


def test_checkpoints_that_cannot_be_written_any_more_end_the_run_with_a_message(tmp_path):
    words = "--epochs 100000 --algorithm backprop --checkpoint-every 100"  # not while one is saved
    process = start(tmp_path, SWEEP, words)
    try:
        wait_until(lambda: recorded(tmp_path), process)
        folder = tmp_path / "checkpoints"
        folder.rename(tmp_path / "moved")
        folder.write_text("in the way")
        printed, errors = finish(process, code=1)
    finally:
        process.kill()
    assert f"error: cannot write checkpoints to {folder}" in printed
    assert "Traceback" not in errors
    assert query(tmp_path, "PRAGMA integrity_check") == [("ok",)]


def test_ctrl_c_while_modules_are_imported_ends_without_a_traceback(tmp_path):
    process = start(tmp_path, SWEEP)
    time.sleep(0.6)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 130)
    assert "Traceback" not in errors


def test_the_second_start_compiles_nothing(tmp_path, monkeypatch):
    kept = tmp_path / "programs"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(kept))
    # All are kept: which take long enough otherwise differs from start to start.
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

    def programs(out):
        words = "--algorithm backprop --epochs 1 --n-bits 4 --seeds 1"
        finish(start(tmp_path / out, SWEEP, words))
        return {path.name for path in kept.iterdir() if not path.name.endswith("-atime")}

    first = programs("first")
    assert first
    assert programs("second") == first
