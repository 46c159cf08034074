"""The result store: what it keeps, what it refuses, and what survives a kill."""

import math
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from examples import CELL, FLOAT, ORIGIN, epoch, fill, ranges

from experiments.cells import DEFAULTS, Replica
from experiments.store import FILE_NAME, NoStoreError, Store, StoreError, alive_in
from experiments.store.schema import VERSION

NAN, INF = math.nan, math.inf
A, B = Replica(CELL, 0), Replica(FLOAT, 1)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "out") as store:
        yield store


def closed(store, rows, seconds=2.0):
    """The replica's row after these epochs and `finish`."""
    fill(store, A, rows)
    store.finish([A.id], seconds)
    (row,) = store.replicas()
    return row


def test_makes_the_folder_and_the_file(tmp_path):
    with Store(tmp_path / "a" / "b") as store:
        assert store.path == tmp_path / "a" / "b" / FILE_NAME
        assert store.path.is_file()


def test_a_started_replica_is_running_with_its_configuration(store):
    store.claim([A], ORIGIN)
    (row,) = store.replicas()
    assert row["status"] == "running"
    assert {name: row[name] for name in vars(CELL)} == vars(CELL)
    assert (row["id"], row["seed"], row["device"]) == (A.id, 0, "1 x cpu")


def test_an_unquantized_replica_keeps_its_none(store):
    store.claim([B], ORIGIN)
    assert store.replicas()[0]["n_bits"] is None


def test_epochs_and_ranges_come_back_as_they_were(store):
    rows = [epoch(A, 0, 2.5, 40.0), epoch(A, 1, 1.25, 60.0)]
    fill(store, A, rows)
    assert store.history("epochs") == rows
    assert [tuple(r.values()) for r in store.history("ranges")] == ranges(A, 0) + ranges(A, 1)


def test_results_outlive_the_connection(tmp_path):
    with Store(tmp_path) as store:
        fill(store, A, [epoch(A, 0)])
    with Store(tmp_path, create=False) as store:
        tables = (store.replicas(), store.history("epochs"), store.history("ranges"))
        assert [len(rows) for rows in tables] == [1, 1, 1]


def test_finish_keeps_the_last_metrics_and_the_time(store):
    row = closed(store, [epoch(A, 0, 2.0, 40.0), epoch(A, 1, 1.0, 60.0)], seconds=7.5)
    assert (row["status"], row["diverged_epoch"], row["seconds"]) == ("done", None, 7.5)
    finals = ("test_accuracy", "test_loss", "train_accuracy", "train_loss")
    assert [row[name] for name in finals] == [60.0, 1.0, 60.0, 1.0]


@pytest.mark.parametrize(
    "bad", [{"loss": NAN}, {"loss": INF}, {"finite": False}], ids=["nan", "inf", "weights"]
)
def test_divergence_keeps_the_last_sound_metrics(store, bad):
    bad_rows = [epoch(A, n, **{"accuracy": 9.0} | bad) for n in (2, 3)]
    row = closed(store, [epoch(A, 0, 2.0, 40.0), epoch(A, 1, 1.5, 55.0), *bad_rows])
    assert (row["status"], row["diverged_epoch"]) == ("diverged", 2)
    assert (row["test_accuracy"], row["train_loss"]) == (55.0, 1.5)


@pytest.mark.parametrize("part", ["train_loss", "test_loss"])
def test_a_nan_of_either_loss_is_divergence(store, part):
    assert closed(store, [epoch(A, 0, **{part: NAN})])["status"] == "diverged"


def test_divergence_from_the_start_leaves_no_metrics(store):
    row = closed(store, [epoch(A, 0, NAN, 9.0, finite=False)])
    assert (row["status"], row["diverged_epoch"]) == ("diverged", 0)
    assert row["test_accuracy"] is None
    assert row["test_loss"] is None


def test_a_replica_that_recovers_is_done(store):
    row = closed(store, [epoch(A, 0, INF), epoch(A, 1, 1.0, 60.0)])
    assert (row["status"], row["test_accuracy"]) == ("done", 60.0)


def test_a_phase_without_scores_is_sound(store):
    unscored = dict.fromkeys(("train_loss", "train_accuracy", "test_loss", "test_accuracy"))
    rows = [epoch(A, 0, **unscored | {"objective": -3.0}), epoch(A, 1, 1.0, 60.0)]
    assert closed(store, rows)["status"] == "done"


@pytest.mark.parametrize("objective", [NAN, INF, -INF])
def test_a_phase_without_scores_diverges_by_its_objective(store, objective):
    unscored = dict.fromkeys(("train_loss", "train_accuracy", "test_loss", "test_accuracy"))
    row = closed(store, [epoch(A, 0, **unscored | {"objective": objective})])
    assert row["status"] == "diverged"


def test_finish_touches_only_those_named(store):
    fill(store, A, [epoch(A, 0)])
    fill(store, B, [epoch(B, 0)])
    store.finish([A.id], 1.0)
    assert {r["id"]: r["status"] for r in store.replicas()} == {A.id: "done", B.id: "running"}


def test_finished_tells_done_and_diverged_of_those_asked(store):
    diverged, running, failed = (Replica(CELL, seed) for seed in (1, 2, 3))
    for replica, loss in ((A, 1.0), (diverged, NAN), (running, 1.0), (failed, 1.0), (B, 1.0)):
        fill(store, replica, [epoch(replica, 0, loss)])
    store.finish([A.id, diverged.id, B.id], 1.0)
    store.fail([failed.id])
    asked = [A.id, diverged.id, running.id, failed.id, "unheard of"]
    assert store.finished(asked) == {A.id, diverged.id}


def test_rewinding_drops_later_rows_only(store):
    fill(store, A, [epoch(A, n) for n in range(4)])
    fill(store, B, [epoch(B, n) for n in range(4)])
    store.rewind([A.id], 2)
    for table in (store.history("epochs"), store.history("ranges")):
        kept = {r.id: [row["epoch"] for row in table if row["replica"] == r.id] for r in (A, B)}
        assert kept == {A.id: [0, 1], B.id: [0, 1, 2, 3]}


def test_a_finished_replica_cannot_be_claimed_nor_can_others_with_it(store):
    closed(store, [epoch(A, 0)])
    assert not store.claim([A, B], ORIGIN)
    assert [r["id"] for r in store.replicas()] == [A.id]
    assert store.claim([B], ORIGIN)


def test_a_failed_replica_is_free_again(store):
    store.claim([A], ORIGIN)
    store.fail([A.id])
    assert store.claim([A], ORIGIN)


def test_what_a_running_program_has_claimed_is_taken(store):
    store.claim([A], ORIGIN)
    with Store(store.path.parent) as other:
        assert other.taken([A.id, B.id]) == {A.id}
        assert not other.claim([A, B], ORIGIN)
        assert other.claim([B], ORIGIN)
        assert store.taken([A.id, B.id]) == {B.id}
    assert store.taken([A.id, B.id]) == set()  # the other has ended
    assert store.claim([A, B], ORIGIN)


def test_a_killed_program_has_claimed_nothing(store):
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path
from examples import CELL, ORIGIN, Replica, Store
store = Store(Path({str(store.path.parent)!r})); store.claim([Replica(CELL, 0)], ORIGIN)
print("claimed", flush=True); input()
"""
    program = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert program.stdout.readline() == b"claimed\n"
    assert not store.claim([A], ORIGIN)
    program.kill()
    program.wait()
    assert store.claim([A], ORIGIN)
    assert len(list(store.path.parent.glob(".running-*"))) == 1  # our own


def test_a_store_made_read_only_is_reported(store):
    store.claim([A], ORIGIN)
    store._db.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreError, match=r"readonly.*--resume"):
        store.record([epoch(A, 0)], [])
    assert store.history("epochs") == []


def test_a_full_disk_is_reported_and_leaves_the_store_intact(store):
    store.claim([A], ORIGIN)
    store.record([epoch(A, 0)], [])
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    many = [(A.id, 1, f"tensor {n}", 0.0, 1.0) for n in range(10_000)]
    with pytest.raises(StoreError, match=r"full.*--resume"):
        store.record([epoch(A, 1)], many)
    assert [e["epoch"] for e in store.history("epochs")] == [0]
    assert store._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_failed_write_leaves_nothing_of_itself(store):
    store.claim([A], ORIGIN)
    broken = epoch(A, 1)
    del broken["test_loss"]
    with pytest.raises(sqlite3.ProgrammingError):
        store.record([epoch(A, 0), broken], [])
    assert store.history("epochs") == []
    store.record([epoch(A, 0)], [])  # and the store is usable
    assert len(store.history("epochs")) == 1


def test_replicas_come_in_the_same_order_whoever_came_first(tmp_path):
    replicas = [Replica(cell, seed) for cell in (CELL, FLOAT) for seed in (0, 1, 10)]
    orders = []
    for name, members in (("a", replicas), ("b", replicas[::-1])):
        with Store(tmp_path / name) as store:
            store.claim(members, ORIGIN)
            orders.append([r["id"] for r in store.replicas()])
    assert orders[0] == orders[1]


# What is not a store


def sqlite_file(path, *statements):
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def foreign(path):
    sqlite_file(path, "CREATE TABLE theirs (x)", "INSERT INTO theirs VALUES (42)")


def foreign_version_1(path):
    sqlite_file(path, "CREATE TABLE replicas (id)", "PRAGMA user_version=1")


def text(path):
    path.write_text("not a database, but the user's notes\n" * 50)


def other_version(path):
    Store(path.parent).__exit__()
    sqlite_file(path, "PRAGMA user_version=99")


@pytest.mark.parametrize("statements", [[], ["PRAGMA journal_mode=WAL"]])
def test_a_store_that_another_program_is_just_making_is_none_yet(tmp_path, statements):
    (tmp_path / FILE_NAME).touch()
    sqlite_file(tmp_path / FILE_NAME, *statements)
    with pytest.raises(NoStoreError, match="no results at"):
        Store(tmp_path, create=False)
    with Store(tmp_path) as store:
        assert store.replicas() == []
    with Store(tmp_path, create=False) as store:
        assert store.replicas() == []


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (foreign, ["not a result store", "another program's", "--out"]),
        (foreign_version_1, ["not a result store", "--out"]),
        (text, ["not a result store", "--out"]),
        (other_version, ["version 99", f"version {VERSION}", "--out"]),
    ],
)
def test_refuses_what_is_not_its_file_and_leaves_it_alone(tmp_path, make, words, create):
    path = tmp_path / FILE_NAME
    make(path)
    before = path.read_bytes()
    with pytest.raises(StoreError) as error:
        Store(tmp_path, create=create)
    for word in [str(path), *words]:
        assert word in str(error.value)
    assert path.read_bytes() == before


def below_a_file(folder):
    (folder / "file").write_text("x")
    return folder / "file" / "out"


def is_a_file(folder):
    (folder / "file").write_text("x")
    return folder / "file"


def has_a_folder_of_that_name(folder):
    (folder / FILE_NAME).mkdir()
    return folder


def in_proc(folder):
    return Path("/proc/self/no-such-folder")


@pytest.mark.parametrize("make", [below_a_file, is_a_file, has_a_folder_of_that_name, in_proc])
def test_refuses_where_it_cannot_write(tmp_path, make):
    out = make(tmp_path)
    with pytest.raises(StoreError) as error:
        Store(out)
    assert "cannot write results" in str(error.value)
    assert str(out / FILE_NAME) in str(error.value)
    assert "--out" in str(error.value)


def test_a_missing_store_cannot_be_read_and_is_not_made(tmp_path):
    with pytest.raises(StoreError, match=r"no results at .*experiments\.run"):
        Store(tmp_path / "nowhere", create=False)
    assert list(tmp_path.iterdir()) == []


def statuses(store):
    return {r["id"]: r["status"] for r in store.replicas()}


def test_what_is_planned_waits_is_not_taken_and_is_begun_by_a_claim(store):
    store.plan([A, B])
    assert statuses(store) == {A.id: "waiting", B.id: "waiting"}
    row = next(r for r in store.replicas() if r["id"] == A.id)
    assert {name: row[name] for name in vars(CELL)} == vars(CELL)
    with Store(store.path.parent) as other:
        assert other.taken([A.id, B.id]) == set()
        assert other.claim([A], ORIGIN)
        assert statuses(store) == {A.id: "running", B.id: "waiting"}
        assert store.taken([A.id, B.id]) == {A.id}
    assert statuses(store) == {A.id: "interrupted", B.id: "waiting"}


def test_a_plan_replaces_earlier_ones_unless_others_are_at_work_and_nothing_that_was_begun(store):
    c, d = Replica(CELL, 7), Replica(CELL, 8)
    with Store(store.path.parent) as other:
        other.plan([A, B, c])
        other.claim([A], ORIGIN)
        store.plan([d])
        assert set(statuses(store)) == {A.id, B.id, c.id, d.id}
    store.plan([A, B])
    assert statuses(store) == {A.id: "interrupted", B.id: "waiting"}
    store.finish([A.id], 1.0)
    store.plan([])
    assert statuses(store) == {A.id: "done"}


def test_readers_that_ask_at_once_do_not_take_each_other_for_a_program(store):
    """Or who resumes would leave alone what nobody trains."""
    dead = store.path.parent / ".running-dead"
    dead.touch()
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path
from experiments.store import alive_in
print("asking", flush=True)
while True: alive_in(Path({str(dead.parent)!r}))
"""
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert program.stdout.readline() == b"asking\n"
        for _ in range(3000):
            assert "dead" not in alive_in(dead.parent)
    finally:
        program.kill()
        program.communicate()


def test_a_claim_is_seen_through_a_link_to_the_file(tmp_path):
    (tmp_path / "out").mkdir()
    with Store(tmp_path / "big"):
        pass
    (tmp_path / "out" / FILE_NAME).symlink_to(tmp_path / "big" / FILE_NAME)
    with Store(tmp_path / "out") as linked:
        linked.claim([A], ORIGIN)
        assert statuses(linked) == {A.id: "running"}


# Several processes

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from examples import *
folder, first, replicas, epochs = Path(sys.argv[1]), *map(int, sys.argv[2:])
with Store(folder) as store:
    print("open", flush=True)
    sys.stdin.readline()
    for seed in range(first, first + replicas):
        replica = Replica(CELL, seed)
        store.claim([replica], ORIGIN)
        for number in range(epochs):
            store.record([epoch(replica, number)], ranges(replica, number))
            print("wrote", flush=True)
        store.finish([replica.id], 1.0)
"""


@pytest.fixture
def writer():
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, *map(str, arguments)],
            cwd=Path(__file__).parents[2], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def go(process):
    """Lets a writer that has opened its store begin."""
    assert process.stdout.readline() == "open\n"
    process.stdin.write("\n")
    process.stdin.flush()


def test_two_processes_that_write_at_once_lose_nothing(tmp_path, writer):
    Store(tmp_path).__exit__()
    processes = [writer(tmp_path, first, 5, 8) for first in (0, 100)]
    for process in processes:
        go(process)
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    with Store(tmp_path, create=False) as store:
        replicas = store.replicas()
        assert {r["seed"] for r in replicas} == {*range(5), *range(100, 105)}
        assert {r["status"] for r in replicas} == {"done"}
        assert len(store.history("epochs")) == len(store.history("ranges")) == 2 * 5 * 8


def test_a_reader_sees_what_a_writer_has_finished(tmp_path, writer):
    process = writer(tmp_path, 0, 1000, 1)
    go(process)
    assert process.stdout.readline() == "wrote\n"
    with Store(tmp_path, create=False) as store:
        assert len(store.history("epochs")) >= 1


CREATOR = """
import sys
from pathlib import Path
from experiments.store import Store
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    Store(Path(sys.argv[1]) / str(number)).__exit__()
"""


def test_two_processes_may_create_the_same_store_at_once(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CREATOR, str(tmp_path)], cwd=Path(__file__).parents[2],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert errors == ["", ""]


def test_kill_9_of_a_writer_leaves_a_readable_store(tmp_path, writer):
    process = writer(tmp_path, 0, 10_000, 5)
    go(process)
    for _ in range(12):
        assert process.stdout.readline() == "wrote\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    with Store(tmp_path) as store:
        replicas, epochs = store.replicas(), store.history("epochs")
        assert len(epochs) >= 12
        assert len(store.history("ranges")) == len(epochs)  # whole transactions only
        done = [r for r in replicas if r["status"] == "done"]
        assert len(done) >= 2
        assert {r["test_accuracy"] for r in done} == {50.0}
        store.claim([A], ORIGIN)  # and can be written to


def test_a_kill_leaves_unfinished_replicas_to_run_again(tmp_path, writer):
    process = writer(tmp_path, 0, 1, 10_000)
    go(process)
    assert process.stdout.readline() == "wrote\n"
    process.kill()
    process.communicate()
    with Store(tmp_path) as store:
        assert [r["status"] for r in store.replicas()] == ["interrupted"]
        assert store.finished([A.id]) == set()


# Versions that lack axes, with these axes; the writes were in none of them.
OLDER = {2: tuple(DEFAULTS), 5: ("label_smoothing",), 9: ()}


def older(folder, version=2):
    """A store as an older qjax left it, with no columns for the axes that came later."""
    with Store(folder) as store:
        store.claim([A], ORIGIN)
        store.record([epoch(A, 0, 0.5, 90.0)], [])
        store.finish([A.id], 1.0)
    with closing(sqlite3.connect(folder / FILE_NAME)) as db:
        for name in OLDER[version]:
            db.execute(f'ALTER TABLE replicas DROP COLUMN "{name}"')
        for table in ("replicas", "epochs"):
            db.execute(f"ALTER TABLE {table} DROP COLUMN writes")
        db.execute(f"PRAGMA user_version={version}")
        db.commit()
    return folder


def test_a_new_axis_comes_with_a_new_version():
    # An older qjax must refuse a store with columns that it does not know.
    known = ["schedule", "gain", "bias", "network", "gain_rule", "synthesizer_lr",
             "label_smoothing", "numbers", "hidden_bits", "optimizer_bits", "threshold"]
    assert list(DEFAULTS)[: len(known)] == known, "new axes go last"
    assert len(known) == 11
    assert len(DEFAULTS) == VERSION


def test_writes_of_all_epochs_are_those_of_the_replica(tmp_path):
    with Store(tmp_path) as store:
        for replica, known in ((A, (1.5, 0.25)), (B, (1.0, None))):
            store.claim([replica], ORIGIN)
            for number, writes in enumerate(known):
                store.record([epoch(replica, number, writes=writes)], [])
            store.finish([replica.id], 1.0)
        rows = {row["id"]: row["writes"] for row in store.replicas()}
        told = [row["writes"] for row in store.history("epochs", [A.id])]
    # Not of a part of them: B's first epoch may have been an older qjax's.
    assert rows == {A.id: 1.75, B.id: None}
    assert told == [1.5, 0.25]


@pytest.mark.parametrize("version", OLDER)
def test_an_older_store_is_read_with_the_defaults_of_new_axes(tmp_path, version):
    older(tmp_path, version)
    before = (tmp_path / FILE_NAME).read_bytes()
    with Store(tmp_path, create=False) as store:
        (row,) = store.replicas()
    assert {name: row[name] for name in DEFAULTS} == DEFAULTS
    assert row["test_accuracy"] == 90.0
    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("version", OLDER)
def test_an_older_store_goes_on(tmp_path, version):
    older(tmp_path, version)
    other = Replica(replace(A.cell, gain=1.5, schedule="linear", synthesizer_lr=0.5), 0)
    with Store(tmp_path) as store:
        assert store.finished([A.id]) == {A.id}
        assert store.claim([other], ORIGIN)
        rows = {row["id"]: row for row in store.replicas()}
    assert {name: rows[A.id][name] for name in DEFAULTS} == DEFAULTS
    assert rows[other.id]["gain"] == 1.5
    assert rows[other.id]["schedule"] == "linear"
    assert rows[other.id]["synthesizer_lr"] == 0.5
