"""Tuning on held-out data, reporting on the test set."""

import contextlib
import io
from dataclasses import replace

import pytest
from examples import ORIGIN

from experiments import lowbit
from experiments.cells import Replica
from experiments.store import Store
from experiments.studies.lowbit import tuning


def parsed(*words):
    return lowbit.parser().parse_args(list(words))


def row(cell, accuracy, seed=tuning.TUNING_SEED):
    return {**vars(cell), "seed": seed, "id": Replica(cell, seed).id, "test_accuracy": accuracy}


def test_candidates_are_all_combinations_on_held_out_data():
    cells = tuning.candidates(parsed("--n-bits", "1", "2", "float", "--update", "nearest", "pulse",
                                     "--algorithm", "fa", "--lr", "0.1", "--gain", "1", "2"))
    assert {c.dataset for c in cells} == {"mnist_holdout"}
    assert {(c.n_bits, c.quantizer, c.scope) for c in cells} == {
        (1, "asymm", "global"), (2, "symm", "global"), (None, "none", "none")
    }
    assert len(cells) == 2 * 2 * 2 + 2  # a float network has no update rule
    assert {c.bias for c in cells if c.n_bits} == {"float"}


def test_the_best_candidate_of_every_task_is_chosen():
    cells = tuning.candidates(parsed("--n-bits", "2", "3", "--update", "pulse", "--algorithm",
                                     "fa", "--lr", "0.1", "0.2", "--gain", "1", "2"))
    values = [10.0, 40.0, None, 20.0, 70.0, 60.0, 50.0, 80.0]
    finished = [row(c, v) for c, v in zip(cells, values, strict=True)]
    # Another seed, or another task, decides nothing.
    finished.append(row(cells[0], 99.0, seed=0))
    finished.append(row(replace(cells[0], update="nearest"), 99.0))
    two, three = tuning.chosen(cells, finished, 7)
    for cell, best in ((two, cells[1]), (three, cells[7])):
        assert cell == replace(best, dataset="mnist", epochs=7)


def test_the_best_share_of_every_task_goes_on_to_a_longer_trial():
    cells = tuning.candidates(parsed("--n-bits", "2", "3", "--update", "pulse", "--algorithm",
                                     "hsic", "--lr", "0.1", "0.2", "0.3", "--gain", "1",
                                     "--tune-epochs", "2", "5"))
    assert {(c.epochs, c.readout_epochs) for c in cells} == {(2, 2)}
    values = [10.0, 40.0, 20.0, 70.0, None, 50.0]
    finished = [row(c, v) for c, v in zip(cells, values, strict=True)]
    on = tuning.promoted(cells, finished, 5, 2)  # two of three, the best first
    assert [(c.n_bits, c.lr) for c in on] == [(2, 0.2), (2, 0.3), (3, 0.1), (3, 0.3)]
    assert {(c.epochs, c.readout_epochs, c.dataset) for c in on} == {(5, 5, "mnist_holdout")}
    assert [c.lr for c in tuning.promoted(cells, finished, 5, 3)] == [0.2, 0.1]
    # The longer trial decides, whatever the shorter one said.
    finished += [row(c, v) for c, v in zip(on, [60.0, 65.0, 80.0, 79.0], strict=True)]
    two, three = tuning.chosen(on, finished, 9)
    assert (two.lr, three.lr) == (0.3, 0.1)
    assert (two.dataset, two.epochs, two.readout_epochs) == ("mnist", 9, 9)


def test_batch_sizes_and_networks_are_choices_like_the_others():
    cells = tuning.candidates(parsed("--n-bits", "2", "--update", "pulse", "--algorithm", "fa",
                                     "--lr", "0.1", "--gain", "1", "--batch-size", "64", "256",
                                     "--network", "mlp", "lenet"))
    assert [(c.network, c.n_layers, c.hidden_width, c.batch_size) for c in cells] == [
        ("mlp", 2, 100, 64), ("mlp", 2, 100, 256), ("lenet", 0, 0, 64), ("lenet", 0, 0, 256)
    ]
    finished = [row(c, v) for c, v in zip(cells, (50.0, 60.0, 80.0, 70.0), strict=True)]
    # The best batch size of each network: a network is a task of its own.
    assert [(c.network, c.batch_size) for c in tuning.chosen(cells, finished, 3)] == [
        ("mlp", 256), ("lenet", 64)
    ]


def test_the_mean_over_tuning_seeds_counts():
    cells = tuning.candidates(parsed("--n-bits", "2", "--update", "pulse", "--algorithm", "fa",
                                     "--lr", "0.1", "0.2", "--gain", "1"))
    finished = [row(cells[0], 90.0), row(cells[0], 50.0, tuning.TUNING_SEED + 1),
                row(cells[1], 75.0), row(cells[1], 70.0, tuning.TUNING_SEED + 1)]
    assert [c.lr for c in tuning.chosen(cells, finished, 3)] == [0.2]


def test_schedules_are_choices_too():
    cells = tuning.candidates(parsed("--n-bits", "2", "--update", "pulse", "--algorithm", "fa",
                                     "--lr", "0.1", "--gain", "1",
                                     "--schedule", "linear", "cosine"))
    finished = [row(c, v) for c, v in zip(cells, (50.0, 60.0), strict=True)]
    assert [c.schedule for c in tuning.chosen(cells, finished, 3)] == ["cosine"]


def test_dni_chooses_a_rate_for_its_synthesizers_too():
    cells = tuning.candidates(parsed("--n-bits", "2", "--update", "pulse", "--algorithm", "fa",
                                     "dni", "--lr", "0.1", "--gain", "1",
                                     "--synthesizer-lr", "0.01", "0.02"))
    assert [(c.algorithm, c.synthesizer_lr) for c in cells] == [
        ("fa", None), ("dni", 0.01), ("dni", 0.02)
    ]
    finished = [row(c, v) for c, v in zip(cells, (90.0, 50.0, 60.0), strict=True)]
    assert [c.synthesizer_lr for c in tuning.chosen(cells, finished, 3)] == [None, 0.02]


def test_trials_get_longer(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        lowbit.main(["--tune-epochs", "5", "3", "--out", str(tmp_path / "out")])
    assert end.value.code == 2
    assert "--tune-epochs: expected rising numbers, got 5 3" in capsys.readouterr().err


def test_lenet_needs_large_images(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        lowbit.main(["--network", "lenet", "--dataset", "digits", "--out", str(tmp_path / "out")])
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert "lenet needs images of at least 28x28, those of digits_holdout are" in told
    assert not (tmp_path / "out").exists()


def test_cells_that_were_not_trained_are_not_chosen():
    cells = tuning.candidates(parsed("--n-bits", "2", "--update", "pulse", "--algorithm", "fa"))
    assert tuning.chosen(cells, [], 3) == []
    assert [c.lr for c in tuning.chosen(cells, [row(cells[4], None)], 3)] == [cells[4].lr]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("lowbit")
    words = ("--dataset digits --algorithm backprop --n-bits 2 --update nearest stochastic "
             "--n-layers 0 --hidden-width 30 --batch-size 32 --lr 0.01 0.03 --gain 1 "
             "--epochs 10 --tune-epochs 2 4 --one-in 2 --seeds 2")
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert lowbit.main([*words.split(), "--out", str(out)]) == 0
    with Store(out, create=False) as store:
        return store.replicas(), text.getvalue()


def test_the_study_runs_from_end_to_end(study):
    rows, _ = study
    tuned = [r for r in rows if r["dataset"] == "digits_holdout"]
    told = [r for r in rows if r["dataset"] == "digits"]
    assert [sum(r["epochs"] == n for r in tuned) for n in (2, 4)] == [2 * 2, 2]
    assert len(told) == 2 * 2
    assert {r["epochs"] for r in told} == {10}
    for update in ("nearest", "stochastic"):
        best = max((r for r in tuned if r["update"] == update and r["epochs"] == 2),
                   key=lambda r: r["test_accuracy"])
        assert {r["lr"] for r in told if r["update"] == update} == {best["lr"]}


def test_nothing_is_chosen_while_another_run_trains_a_candidate(tmp_path, capsys):
    words = ["--dataset", "digits", "--algorithm", "backprop", "--n-bits", "2", "--update", "pulse",
             "--n-layers", "0", "--hidden-width", "4", "--lr", "0.01", "0.03", "--gain", "1",
             "--epochs", "1", "--tune-epochs", "1", "--seeds", "1", "--out", str(tmp_path)]
    other = tuning.candidates(lowbit.parser().parse_args(words))[0]
    with Store(tmp_path) as theirs:
        assert theirs.claim([Replica(other, tuning.TUNING_SEED)], ORIGIN)
        assert lowbit.main(words) == 1
    assert "Another run trains 1 of the networks" in capsys.readouterr().out
    with Store(tmp_path, create=False) as store:
        assert {r["dataset"] for r in store.replicas()} == {"digits_holdout"}
    assert lowbit.main(words) == 0  # which has ended
    with Store(tmp_path, create=False) as store:
        assert [r["status"] for r in store.replicas()] == ["done"] * 3


def test_two_bits_learn_when_updates_are_rounded_at_random(study):
    rows, _ = study
    told = {u: [r["test_accuracy"] for r in rows if (r["dataset"], r["update"]) == ("digits", u)]
            for u in ("nearest", "stochastic")}
    assert min(told["stochastic"]) > 80
    assert min(told["stochastic"]) > max(told["nearest"])
