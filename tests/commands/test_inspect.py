"""Tests of the command that shows what is inside of a trained network."""

import csv
import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from examples import CELL, ORIGIN
from programs import command

import qjax
from experiments import inspect
from experiments.cells import Replica
from experiments.data import load
from experiments.inside import choosing, numbers
from experiments.store import FILE_NAME, Store
from experiments.sweep import file_of

FILES = {"confusion.png", "confusion.csv", "mistakes.csv", "mistakes.png", "weights.png",
         "layers.npz", "first-layer.png", "attribution.npz", "attribution.png"}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Networks of 2 and 3 bits, two of each."""
    return command(tmp_path_factory.mktemp("inspect") / "run",
                   "--dataset digits --n-layers 0 --hidden-width 12 --n-bits 2 3 --epochs 1 "
                   "--memory latent --optimizer sgd --lr 0.3 --seeds 2 --save final")


def row_of(swept, bits, seed):
    (row,) = [r for r in swept.replicas if (r["n_bits"], r["seed"]) == (bits, seed)]
    return row


def refused(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        inspect.main(list(map(str, words)))
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def seen(swept):
    """The folder of one network, by the beginning of its id."""
    row = row_of(swept, 3, 1)
    assert inspect.main([row["id"][:9], "--results", str(swept.out), "--steps", "20"]) == 0
    return swept.out / "inspect" / row["id"]


def test_all_files_are_there(seen):
    assert {path.name for path in seen.iterdir()} == FILES
    for path in seen.glob("*.png"):
        assert path.read_bytes()[:4] == b"\x89PNG"


def test_confusion_and_mistakes_are_those_of_the_predictions(swept, seen):
    row, data = row_of(swept, 3, 1), load("digits")
    network = qjax.load(file_of(swept.out, row["id"]))
    outputs = np.asarray(network.predict(data.test_images), np.float64)
    predicted, labels = outputs.argmax(1), data.test_labels
    table = np.array([list(r.values()) for r in csv.DictReader((seen / "confusion.csv").open())],
                     int)
    expected = np.zeros((10, 10), int)
    for true, own in zip(labels, predicted, strict=True):
        expected[true, own] += 1
    np.testing.assert_array_equal(table[:, 0], np.arange(10))
    np.testing.assert_array_equal(table[:, 1:], expected)
    assert 100 * np.trace(expected) / len(labels) == pytest.approx(row["test_accuracy"], abs=1e-4)

    rows = list(csv.DictReader((seen / "mistakes.csv").open()))
    assert len(rows) == np.sum(predicted != labels)
    sure = [float(r["probability"]) for r in rows]
    assert sure == sorted(sure, reverse=True)
    for r in rows:
        example, true, own = (int(r[name]) for name in ("example", "true", "predicted"))
        assert true == labels[example] != own == predicted[example]
        powers = np.exp(outputs[example] - outputs[example].max())
        for name, number in (("probability", own), ("probability_of_true", true)):
            assert float(r[name]) == pytest.approx(powers[number] / powers.sum(), rel=1e-4)


def test_codes_are_those_of_the_weights(swept, seen):
    network = qjax.load(file_of(swept.out, row_of(swept, 3, 1)["id"]))
    with np.load(seen / "layers.npz") as found:
        assert sorted(found.files) == [f"{block}/kernel/{what}" for block in (0, 1)
                                       for what in ("codes", "levels", "weights")]
        for block in (0, 1):
            codes, levels, weights = (
                found[f"{block}/kernel/{what}"] for what in ("codes", "levels", "weights"))
            assert len(levels) == 2**3 - 1
            np.testing.assert_array_equal(weights, network.params[block]["kernel"])
            np.testing.assert_allclose(levels[codes], weights, atol=1e-6)


def test_attributions_are_of_what_is_predicted(swept, seen):
    network = qjax.load(file_of(swept.out, row_of(swept, 3, 1)["id"]))
    data = load("digits")
    with np.load(seen / "attribution.npz") as found:
        images = data.test_images[found["example"]]
        np.testing.assert_array_equal(found["images"], images)
        np.testing.assert_array_equal(found["labels"], data.test_labels[found["example"]])
        outputs = np.asarray(network.predict(images))
        np.testing.assert_array_equal(found["output"], outputs.argmax(1))
        classes = set(found["output"])  # one of each, then another
        assert set(found["output"][: len(classes)]) == classes
        assert len(images) == 10
        black = np.asarray(network.predict(np.zeros((1, 8, 8, 1))))[0]
        np.testing.assert_allclose(found["attributions"].sum((1, 2, 3)),
                                   outputs.max(1) - black[found["output"]], atol=0.05)
        assert (found["attributions"][images == 0] == 0).all()


def test_conditions_choose_and_what_is_printed(swept, tmp_path, capsys):
    row = row_of(swept, 2, 0)
    assert inspect.main(["--results", str(swept.out), "--only", "n_bits=2", "seed=0", "--steps",
                         "2", "--examples", "3", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    kernel = np.asarray(qjax.load(file_of(swept.out, row["id"])).params[0]["kernel"])
    zero, ends = (100 * np.mean(where) for where in (
        kernel == 0, np.isin(kernel, [kernel.min(), kernel.max()])))
    assert f"| 0/kernel | 64x12 | 768 | 3 of 3 | {zero:.1f} | {ends:.1f} |" in out
    assert f"accuracy {row['test_accuracy']:.2f} %, recorded {row['test_accuracy']:.2f} %" in out
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert {line for line in out.splitlines() if line.startswith(str(tmp_path))} == {
        str(path) for path in tmp_path.iterdir()}
    with np.load(tmp_path / "attribution.npz") as found:
        assert len(found["example"]) == 3


def test_the_best_of_several_and_a_file_by_its_path(swept, tmp_path):
    best = max(swept.replicas, key=lambda row: row["test_accuracy"])
    file = choosing.chosen("", swept.out, best=True)
    assert file == file_of(swept.out, best["id"])
    assert choosing.folder_of(file, best["id"]) == swept.out / "inspect" / best["id"]
    alone = tmp_path / "alone.npz"
    assert choosing.chosen(str(alone), swept.out) == alone
    assert choosing.folder_of(alone, "alone") == tmp_path / "inspect" / "alone"


def test_what_is_not_one_network_is_refused(swept, tmp_path, capsys):
    several = refused(capsys, "--results", swept.out)
    assert "4 replicas" in several
    assert "--only with n_bits=2|3" in several
    assert "seed=0|1" in several
    for row in swept.replicas:
        assert row["id"] in several
    assert "2 replicas" in refused(capsys, "--results", swept.out, "--only", "n_bits=3")
    none = refused(capsys, "xyz", "--results", swept.out)
    assert "has an id that begins with xyz" in none
    assert swept.replicas[0]["id"] in none
    assert "has seed=7" in refused(capsys, "--results", swept.out, "--only", "seed=7")
    assert "no results at" in refused(capsys, "--results", tmp_path)
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(swept.out / FILE_NAME, bare)
    assert "no trained network was kept: train again with --save final" in refused(
        capsys, row_of(swept, 3, 1)["id"], "--results", bare)
    with Store(tmp_path / "begun") as store:
        store.claim([Replica(CELL, 0)], ORIGIN)
    assert "none is trained to the end: the command that began it goes on with --resume" in refused(
        capsys, "--results", tmp_path / "begun")


def test_data_that_have_changed_are_refused(swept, tmp_path, capsys):
    network = qjax.load(file_of(swept.out, row_of(swept, 3, 1)["id"]))
    assert network.about["data"] == load("digits").fingerprint
    other = dataclasses.replace(network, about=network.about | {"data": "another"})
    other.save(tmp_path / "other.npz")
    assert "digits has changed since" in refused(capsys, tmp_path / "other.npz")


@pytest.mark.parametrize(("bits", "memory", "label"), [
    (None, "none", "float"), (None, "ecram", "ecram"), (4, "latent", "4 bits symm local latent")])
def test_titles_say_what_holds_the_weights(bits, memory, label):
    config = {"n_bits": bits, "quantizer": "symm", "scope": "local", "update": memory}
    assert numbers.name_of(SimpleNamespace(about={"config": config, "seed": 1})) == (
        f"{label}, seed 1")


def test_files_that_are_none_are_refused(swept, tmp_path, capsys):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    assert "is no trained network" in refused(capsys, tmp_path / "other.npz")
    assert "is not there: expected a trained network" in refused(capsys, tmp_path / "absent.npz")
    assert "is one network" in refused(capsys, tmp_path / "other.npz", "--best")
    network = qjax.load(file_of(swept.out, row_of(swept, 3, 1)["id"]))
    bare = qjax.saved.Trained(network.network, network.params, network.collections, network.inputs)
    bare.save(tmp_path / "bare.npz")
    assert "does not say what it was trained on" in refused(capsys, tmp_path / "bare.npz")
