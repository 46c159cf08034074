"""How costs grow: the exponents, and the command on the smallest networks."""

import json
import math

import pytest

from experiments import benchmark
from experiments import growth as command
from experiments.benchmark import growth
from experiments.store import Store


def rows(values):
    return [{"axis": "width", "value": value, "ms_per_replica_step": cost}
            for value, cost in values.items()]


def test_exponents_are_those_of_powers():
    squares = rows({2: 12.0, 4: 48.0, 8: 192.0})
    assert growth.exponents(squares[::-1], "width", "ms_per_replica_step") == pytest.approx([2, 2])
    bent = rows({1: 1.0, 10: 1.0, 100: 1000.0})
    assert growth.exponents(bent, "width", "ms_per_replica_step") == pytest.approx([0, 3])
    assert growth.exponents(bent, "depth", "ms_per_replica_step") == []
    (unknown,) = growth.exponents(rows({1: None, 2: 1.0}), "width", "ms_per_replica_step")
    assert math.isnan(unknown)


@pytest.mark.thorough
def test_the_command_measures_draws_and_tabulates(tmp_path, capsys, monkeypatch):
    machine = {"cores": 2, "devices": 2, "matmul_gflops": 1e4, "copy_gbytes": 1e4}
    monkeypatch.setattr(benchmark, "about_machine", lambda: machine)  # measured by test_bench
    words = ["--width", "16", "4", "16", "--depth", "--replicas", "--out", str(tmp_path / "new")]
    assert command.main(words) == 0
    printed = capsys.readouterr().out
    assert "| width | 4 to 16 |" in printed
    assert "| replicas |" not in printed
    measured = json.loads((tmp_path / "new/growth-backprop.json").read_text())["rows"]
    assert [(row["axis"], row["value"]) for row in measured] == [
        ("width", 4), ("width", 16)]
    # Kernels of 784 x 4, 4 x 4 twice, 4 x 10 and biases; adadelta keeps two more of each.
    elements = 784 * 4 + 2 * 4 * 4 + 4 * 10 + 3 * 4 + 10
    assert measured[0]["least_bytes"] == pytest.approx(3 * 4 * elements, rel=0.01)
    assert 0 < measured[0]["least_ms"] < measured[0]["ms_per_replica_step"]
    assert (tmp_path / "new/growth-backprop.png").stat().st_size > 10_000


def test_a_store_is_filled_with_finished_networks(tmp_path, capsys):
    assert command.main(["--stored", "300", "--out", str(tmp_path / "many")]) == 0
    assert "networks: 400" in capsys.readouterr().out  # two seeds of 200 cells
    with Store(tmp_path / "many", create=False) as store:
        assert {row["status"] for row in store.replicas()} == {"done"}
        assert len(store.history("epochs")) == 800
    assert len((tmp_path / "many/all.csv").read_text().splitlines()) == 401
    with pytest.raises(SystemExit):
        command.main(["--stored", "300", "--out", str(tmp_path / "many")])
    assert "has a result store already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["--stored", "300"])
    assert "--out FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "message"), [
    (["--width", "--depth", "--replicas"], "nothing to measure"),
    (["--algorithm", "backprob"], "backprop"),
])
def test_wrong_words_are_refused_before_anything_is_measured(
    tmp_path, words, message, capsys, monkeypatch
):
    monkeypatch.setattr(benchmark, "about_machine", lambda: pytest.fail("measures"))
    with pytest.raises(SystemExit):
        command.main([*words, "--out", str(tmp_path)])
    assert message in capsys.readouterr().err
