"""The same numbers, however replicas are laid over devices, processes and chunks."""

import socket

import jax
import pytest
from examples import TINY
from programs import finish, numbers, planned, recorded, start, wait_until

from experiments import run
from experiments.data import load
from experiments.store import Store
from experiments.sweep import Program
from experiments.sweep import devices as sweep_devices

# hsic in floats alone: those of few bits are programs of their own, which take long to compile.
BITS = """n-bits = [3, "float"]
[hsic]
n-bits = "float"
"""
SWEEP = ("--dataset digits --hidden-width 10 --n-layers 0 --seeds 2 --batch-size 64 --epochs 5 "
         "--readout-epochs 2 --config {} --algorithm")
# How far losses of float cells may lie apart. HSIC inverts matrices close to singular, where
# rounding errors grow.
APART = {"backprop": 1e-5, "hsic": 5e-3}


def alone(out, *words, devices):
    finish(start(out, *words, devices=devices))
    return numbers(out)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "bits.toml"
    path.write_text(BITS)
    return SWEEP.format(path)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory, words):
    return alone(tmp_path_factory.mktemp("one"), words, "backprop", devices=1)


@pytest.fixture(scope="module")
def one_device_each(tmp_path_factory, words):
    return alone(tmp_path_factory.mktemp("each"), words, *APART, devices=1)


def assert_alike(out, expected):
    """Float cells to 1e-5 (hsic 5e-3); of quantized cells no accuracy by more than 3 points.

    A rounding error in the last place can put a weight on the neighbouring level, from where the
    training goes another way: not worse, but not the same.
    """
    finals, *tables = numbers(out)
    others, *other_tables = expected
    assert finals.keys() <= others.keys()
    other_tables = [[row for row in table if row["replica"] in finals] for table in other_tables]
    assert [len(table) for table in tables] == [len(table) for table in other_tables]
    with Store(out, create=False) as store:
        replicas = store.replicas()
    for row in replicas:
        other = others[row["id"]]
        assert row["status"] == other["status"]
        if row["n_bits"] is None:
            for name in ("test_loss", "train_loss"):
                assert row[name] == pytest.approx(other[name], rel=APART[row["algorithm"]])
        else:
            assert abs(row["test_accuracy"] - other["test_accuracy"]) <= 3


@pytest.mark.thorough
def test_devices_do_not_change_the_numbers(one_device_each, words, tmp_path):
    alone(tmp_path, words, *APART, devices=4)
    assert numbers(tmp_path)[0].keys() == one_device_each[0].keys()
    assert_alike(tmp_path, one_device_each)


@pytest.mark.thorough
def test_chunks_do_not_change_the_numbers(one_device, words, tmp_path):
    alone(tmp_path, words, "backprop --memory-limit 1K", devices=1)  # every replica by itself
    assert len(numbers(tmp_path)[0]) == 4
    assert_alike(tmp_path, one_device)


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def pair(out, *words):
    """Two processes with two devices each, as one run."""
    where = f"--coordinator localhost:{free_port()} --num-processes 2 --process-id"
    return [start(out, *words, where, str(i), devices=2) for i in range(2)]


def end(processes):
    """What both print, once they have ended well."""
    try:
        return [finish(process, seconds=200)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, words):
    out = tmp_path_factory.mktemp("two")
    return out, end(pair(out, words, "backprop"))


def test_two_processes_give_the_numbers_of_one(one_device, two_processes):
    out, (first, second) = two_processes
    assert "Results:" in first
    assert "Results:" not in second
    assert len(numbers(out)[0]) == 4
    assert_alike(out, one_device)


@pytest.mark.thorough
def test_two_killed_processes_resume_together(two_processes, words, tmp_path):
    killed = pair(tmp_path, words, "backprop")
    wait_until(lambda: recorded(tmp_path) >= 8, killed[0])
    for process in killed:
        process.kill()
        process.communicate()
    first, _ = end(pair(tmp_path, words, "backprop --resume"))
    assert "From their checkpoints: 4 replicas, " in first
    assert numbers(tmp_path) == numbers(two_processes[0])


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("--coordinator localhost:1", "go together"),
        ("--coordinator localhost:1 --num-processes 2 --process-id 2", "at most 1"),
    ],
)
def test_incomplete_words_about_processes_are_refused(tmp_path, told, message, capsys):
    with pytest.raises(SystemExit):
        run.main([*told.split(), "--out", str(tmp_path)])
    assert message in capsys.readouterr().err


def test_processes_that_do_not_find_each_other_are_told_so(tmp_path):
    _, errors = finish(start(tmp_path, "--distributed"), code=2)
    assert "did not find each other" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(("size", "cores", "devices", "expected"), [
    ("32768K", "0-1", 2, 2**24),
    ("32768K", "0-7", 2, 2**24),  # the others are not ours
    ("2048K", "0", 4, 2**21),
    ("30720K", "0,4-5", 3, 10 * 2**20),
    ("3M", "0", 1, None),  # a unit that is not known
    (None, "0", 1, None),
])
def test_a_cores_share_of_the_cache(tmp_path, monkeypatch, size, cores, devices, expected):
    if size:
        (tmp_path / "size").write_text(f"{size}\n")
    (tmp_path / "shared_cpu_list").write_text(f"{cores}\n")
    monkeypatch.setattr(sweep_devices, "_CACHE", tmp_path)
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    assert sweep_devices.cache() == expected


@pytest.mark.parametrize(("words", "expected"), [
    ("--n-bits 4", 400), ("--n-bits 4 --memory stochastic", 1000), ("--memory soft_bounds", 1000)])
def test_where_nothing_is_drawn_fewer_train_at_once(monkeypatch, words, expected):
    monkeypatch.setattr(sweep_devices, "cache", lambda: 1000)
    (cell,) = planned(f"{TINY} {words}")
    assert Program((cell.program,), load("digits"), None).cache == expected
