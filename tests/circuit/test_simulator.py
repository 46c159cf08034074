"""The comparison of trainings with the simulator's: what it prints and writes."""

import csv

import numpy as np
import pytest

from experiments import simulator
from experiments.data import Dataset


@pytest.fixture
def small(monkeypatch):
    """Images of which every class lights up pixels of its own."""
    labels = np.arange(320, dtype=np.int32) % 10
    images = np.zeros((320, 28, 28, 1), np.uint8)
    images[np.arange(320), labels] = 255
    data = Dataset("mnist", images, labels, images[:100], labels[:100], 10, 255, 0.0, 1.0)
    monkeypatch.setattr(simulator, "load", lambda name, folder: data)


@pytest.mark.thorough
def test_the_command_tells_means_beside_the_simulators(small, tmp_path, capsys):
    path = tmp_path / "told.csv"
    assert simulator.main(["--case", "floats, 0.1", "soft bounds, 0.1", "--seeds", "2", "--images",
                           "320", "--csv", str(path)]) == 0
    out = capsys.readouterr().out
    rows = list(csv.DictReader(path.open()))
    assert len(rows) == 2 * 3 * 2
    last = [float(r["test_accuracy"]) for r in rows
            if r["case"] == "floats, 0.1" and r["epoch"] == "3"]
    line = next(line for line in out.splitlines() if line.startswith("| floats, 0.1"))
    told = [part.strip() for part in line.strip("|").split("|")]
    assert float(told[3]) == pytest.approx(np.mean(last), abs=0.006)
    assert float(told[8]) == pytest.approx(np.mean(last) - 87.86, abs=0.006)
    assert np.mean(last) > 15  # learns


def test_other_words_are_refused(capsys):
    with pytest.raises(SystemExit):
        simulator.main(["--case", "soft bounds, 0.2"])
    assert "did you mean soft bounds, 0.1" in capsys.readouterr().err
