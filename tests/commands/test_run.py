"""What a run trains and keeps."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from examples import TINY
from programs import command, planned, weights_of

import qjax
from experiments.cells import Replica
from experiments.data import load
from experiments.store import FILE_NAME, Store
from experiments.sweep.networks import file_of
from qjax.algorithms import ALGORITHMS


@pytest.fixture(scope="session")
def everything(tmp_path_factory):
    """An algorithm of each kind (backprop: `basic`), 3 bits and float, with final weights.

    Not hsic in floats, a group of its own, whose two programs take long to compile.
    """
    config = tmp_path_factory.mktemp("bits") / "bits.toml"
    config.write_text('n-bits = [3, "float"]\n[hsic]\nn-bits = 3\n')
    return command(
        tmp_path_factory.mktemp("everything"), TINY, f"--config {config}",
        "--algorithm fa dni hsic --epochs 1 --readout-epochs 1 --quantizer asymm --save final",
    )


@pytest.fixture(scope="session")
def basic(tmp_path_factory):
    """backprop, 2 bits and float, two epochs."""
    return command(tmp_path_factory.mktemp("basic"), TINY, "--epochs 2 --n-bits 2 float")


@pytest.fixture
def copy(basic, tmp_path):
    """The folder of `basic` for a test that changes it."""
    return Path(shutil.copytree(basic.out, tmp_path / "copy"))


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize(
    ("algorithm", "bits"), [("fa", 3), ("fa", None), ("dni", 3), ("dni", None), ("hsic", 3)])
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
    names = {p.stem for p in (everything.out / "networks").iterdir()}
    assert names == {r["id"] for r in everything.replicas}


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("name", ["everything", "device", "rules"])
def test_networks_that_were_kept_predict_what_was_recorded(name, request):
    run = request.getfixturevalue(name)
    programs = {}  # one network of each: a prediction is compiled
    for row in run.replicas:
        programs.setdefault((row["algorithm"], row["update"], row["dataset"]), row)
    for row in programs.values():
        network, data = qjax.load(file_of(run.out, row["id"])), load(row["dataset"])
        right = np.argmax(network.predict(data.test_images), -1) == data.test_labels
        assert 100 * right.mean() == pytest.approx(row["test_accuracy"], abs=1e-3)
        assert network.about["config"]["algorithm"] == row["algorithm"]
        assert bool(network.codes) == (row["n_bits"] is not None)
        for path, (codes, levels) in network.codes.items():
            block, _, leaf = path.partition("/")
            np.testing.assert_allclose(levels[codes], network.params[int(block)][leaf], atol=1e-6)


def test_the_best_epoch_is_kept(tmp_path):
    found = command(tmp_path, TINY, "--epochs 6 --n-bits 3 --lr 3 --save best")
    _, epochs, _ = found.numbers
    for row in found.replicas:
        accuracies = [e["test_accuracy"] for e in epochs if e["replica"] == row["id"]]
        network = qjax.load(file_of(tmp_path, row["id"]))
        assert network.about["test_accuracy"] == max(accuracies)
        assert network.about["epoch"] == accuracies.index(max(accuracies))
    assert any(e < 5 for e in (qjax.load(file_of(tmp_path, row["id"])).about["epoch"]
                               for row in found.replicas))


def test_networks_are_not_kept_where_nobody_wants_them(tmp_path):
    command(tmp_path, TINY, "--epochs 1 --n-bits float --save none")
    assert not (tmp_path / "networks").exists()


def test_quantized_weights_have_at_most_their_levels(everything):
    for row in everything.replicas:
        if row["n_bits"] is not None:
            for name, tensor in weights_of(everything.out, row["id"]).items():
                assert len(np.unique(tensor)) <= 2 ** row["n_bits"], (row["algorithm"], name)


def test_unquantized_weights_are_not_on_a_grid(everything):
    (row,) = (
        r for r in everything.replicas
        if (r["algorithm"], r["n_bits"], r["seed"]) == ("fa", None, 0)
    )
    tensors = weights_of(everything.out, row["id"]).values()
    assert max(len(np.unique(tensor)) for tensor in tensors) > 2**3


def test_saved_weights_lie_in_the_recorded_ranges(everything):
    _, _, ranges = everything.numbers
    last = {(r["replica"], r["tensor"]): r for r in ranges}  # by epoch: the last one stays
    for row in everything.replicas:
        for name, tensor in weights_of(everything.out, row["id"]).items():
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
    assert "already: 4 of 4 replicas." in again.printed
    assert "already" in again.printed
    assert again.replicas == basic.replicas  # with their times


def test_the_results_of_an_earlier_run_are_printed_again(basic, copy):
    again = command(copy, TINY, "--epochs 2 --n-bits 2 float")
    table = basic.printed[basic.printed.index("Test accuracy"):basic.printed.index("All:")]
    assert table in again.printed


@pytest.mark.thorough
def test_another_seed_runs_only_that_one(basic, copy):
    more = command(copy, TINY, "--epochs 2 --n-bits 2 float --seeds 3")
    assert "already: 4 of 6 replicas." in more.printed
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
        "--scope global local",
    )


@pytest.mark.thorough
def test_every_combination_is_trained(rules):
    quantized = [r for r in rules.replicas if r["n_bits"] is not None]
    assert len(quantized) == 2 * 2 * 2 * 2 * 2
    assert len(rules.replicas) == len(quantized) + 2  # float: gradient bits
    assert {r["status"] for r in rules.replicas} == {"done"}


@pytest.mark.parametrize("name", ["n_bits", "update", "gradient_bits", "quantizer", "scope"])
def test_every_axis_changes_the_result(rules, name):
    """Replicas that differ in this axis only do not all have the same loss."""
    names = ("n_bits", "update", "gradient_bits", "quantizer", "scope")
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
        "--schedule constant exponential linear cosine --save final --dataset digits_holdout",
    )


@pytest.mark.thorough
def test_free_biases_and_ternary_weights(device):
    assert {r["status"] for r in device.replicas} == {"done"}
    for row in device.replicas:
        for name, tensor in weights_of(device.out, row["id"]).items():
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


@pytest.mark.thorough
def test_synthesizers_are_floats_if_they_have_a_rate_of_their_own(tmp_path):
    found = command(
        tmp_path, TINY, "--algorithm dni_linear --epochs 1 --seeds 1 --n-bits 2",
        "--scope global",
        "--hidden-width 20 --update stochastic --optimizer adam --synthesizer-lr none 0.01 0.1",
        "--save final",
    ).replicas
    assert len(found) == len({r["train_loss"] for r in found}) == 3
    for row in found:
        # What the memory holds is here what is seen.
        held = qjax.load(file_of(tmp_path, row["id"])).held
        assert held.keys() == {"blocks", "synthesizers"}
        for kind, tree in held.items():
            free = kind == "synthesizers" and row["synthesizer_lr"] is not None
            for tensor in jax.tree.leaves(tree):
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


def test_networks_that_exploded_on_a_grid_are_kept_without_its_numbers(tmp_path):
    result = command(tmp_path, TINY, "--epochs 2 --n-bits 4 --lr 1e30 --save final")
    assert result.code == 0
    assert [r["status"] for r in result.replicas] == ["diverged"] * 2
    for row in result.replicas:
        network = qjax.load(file_of(tmp_path, row["id"]))
        assert not network.codes
        assert not np.all(np.isfinite(network.params[0]["kernel"]))


def test_divergence_of_some_does_not_touch_the_others(diverging):
    assert all(r["test_loss"] < 10 for r in diverging.replicas if r["status"] == "done")


def test_divergence_is_printed(diverging):
    assert "(2 diverged)" in diverging.printed


def test_a_diverged_replica_is_not_run_again(diverging):
    again = command(diverging.out, TINY, "--epochs 2 --n-bits float --optimizer sgd --lr 1e30")
    assert "already: 2 of 2 replicas." in again.printed


def test_the_path_of_the_results_is_printed_as_it_is(basic, tmp_path):
    out = Path(shutil.copytree(basic.out, tmp_path / "run[b]1"))
    again = command(out, TINY, "--epochs 2 --n-bits 2 float")
    assert "run[b]1" in "".join(again.printed.split("\n"))


def test_a_failed_replica_is_tried_again(tmp_path):
    words = f"{TINY} --seeds 1 --epochs 1 --n-bits 4"
    (cell,) = planned(words)
    replica = Replica(cell, 0)
    with Store(tmp_path) as store:
        store.claim([replica], {"device": "x"})
        store.fail([replica.id])
    assert [r["status"] for r in command(tmp_path, words).replicas] == ["done"]


def test_batches_larger_than_the_data_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        command(tmp_path, TINY, "--batch-size 1438")
    assert "more than the 1437 training examples of digits" in capsys.readouterr().err


def test_a_network_that_does_not_fit_alone_is_announced(tmp_path):
    words = "--dry-run --n-bits 4 --hidden-width 500 --memory-limit 1M"
    assert "one network alone takes about" in command(tmp_path, TINY, words).printed
    assert "alone" not in command(tmp_path, TINY, words.replace("1M", "1G")).printed


def test_a_new_algorithm_needs_nothing_but_its_name(tmp_path, monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "fifth", ALGORITHMS["backprop"])
    command(tmp_path, TINY, "--algorithm fifth backprop --epochs 1")
    with Store(tmp_path, create=False) as store:
        losses = {(r["algorithm"], r["seed"]): r["test_loss"] for r in store.replicas()}
    assert len(losses) == 4
    for seed in range(2):
        assert losses["fifth", seed] == losses["backprop", seed]
