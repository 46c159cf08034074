"""What one can see while a sweep runs: lines without a terminal, curves for TensorBoard."""

import pytest
from examples import TINY
from programs import command

from experiments.cells import Replica
from experiments.store import results
from experiments.sweep import sweep
from experiments.sweep.events import FOLDER, name_of

WORDS = f"{TINY} --n-bits 3 float --epochs 3 --seeds 1"


def test_without_a_terminal_there_is_a_line_a_minute(tmp_path, monkeypatch):
    def lines(seconds, out):
        monkeypatch.setattr(sweep, "_SILENCE", seconds)
        printed = command(tmp_path / out, WORDS).printed
        return [line for line in printed.splitlines() if "% done" in line]

    assert len(lines(60.0, "a")) == 1  # of the group, at its end
    (*along, last) = lines(0.0, "b")
    assert len(along) == 3
    assert "train 2/3, test accuracy" in along[1]
    assert "100% done" in last


def test_tensorboard_reads_what_is_stored(tmp_path):
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    found = command(tmp_path, WORDS, "--tensorboard")
    _, epochs, _ = found.numbers
    for row in found.replicas:
        folder = tmp_path / FOLDER / name_of(Replica(results.cell_of(row), row["seed"]))
        (file,) = folder.iterdir()
        events = [e for e in loading.EventFileLoader(str(file)).Load() if e.step]
        own = [e for e in epochs if e["replica"] == row["id"]]
        assert [e.step for e in events] == [1, 2, 3]
        for event, expected in zip(events, own, strict=True):
            values = {v.tag: v.tensor.float_val[0] for v in event.summary.value}
            for name in ("test_accuracy", "train_loss", "objective"):
                assert values[name] == pytest.approx(expected[name], rel=1e-6)
