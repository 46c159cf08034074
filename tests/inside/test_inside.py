"""Tests of what is seen inside of a network: numbers against plain NumPy, every kind of data."""

import csv

import jax
import numpy as np
import pytest

from experiments.data import Dataset
from experiments.inside import attributions, numbers, writing
from qjax import blocks, networks
from qjax.saved import Inputs, Trained

RANDOM = np.random.default_rng(0)


def data_of(shape, labels, outputs, dtype=np.float32):
    """Random inputs of a shape, the same for training and test."""
    inputs = RANDOM.integers(0, 256, (len(labels), *shape)).astype(dtype)
    return Dataset("random", inputs, labels, inputs, labels, outputs)


def trained_on(data, network, loss):
    """A network as it starts, and its weights on a grid of one's own: none is trained here."""
    inputs = Inputs(data.image_shape, data.low, data.high, 0.5, 0.3)
    params, collections = blocks.init_network(
        jax.random.key(0), network, inputs(data.test_images[:2]))
    return Trained(network, params, collections, inputs, about={"config": {"loss": loss}})


CLASSES = np.arange(30, dtype=np.int32) % 4
DENSE = networks.mlp([6], 4)
CASES = {
    "colour": (data_of((9, 7, 3), CLASSES, 4, np.uint8), (
        networks.Conv(5, size=3, pool=True), networks.Dense(4, activation=networks.identity)),
        "cross_entropy"),
    "two channels": (data_of((5, 6, 2), CLASSES, 4), DENSE, "squared_error"),
    "features": (data_of((80,), np.arange(30, dtype=np.int32) % 13, 13), networks.mlp([6], 13),
                 "cross_entropy"),
    "targets": (data_of((12,), RANDOM.normal(size=(30, 2)).astype(np.float32), 2),
                networks.mlp([6], 2), "squared_error"),
    "labels": (data_of((6, 6, 1), RANDOM.integers(0, 2, (30, 4)).astype(np.float32), 4), DENSE,
               "sigmoid"),
}


def check_targets(data, written, folder):
    """The farthest predictions come first, and the score is R²."""
    rows = list(csv.DictReader((folder / "mistakes.csv").open()))
    off = [sum((float(r[f"target_{k}"]) - float(r[f"predicted_{k}"]))**2 for k in (0, 1))
           for r in rows]
    assert off == sorted(off, reverse=True)
    assert sorted(int(r["example"]) for r in rows) == list(range(30))
    wanted = data.test_labels.astype(np.float64)
    explained = 1 - np.sum(off) / np.sum((wanted - wanted.mean(0))**2)
    assert written.score == pytest.approx(100 * explained, rel=1e-4)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_data_has_its_files(case, tmp_path):
    data, network, loss = CASES[case]
    trained = trained_on(data, network, loss)
    most = None if case in ("colour", "targets") else 4
    written = writing.write(trained, data, tmp_path, steps=100, most=most)
    names = {path.name for path in written.files}
    assert {path.name for path in tmp_path.iterdir()} == names
    expected = {"weights.png", "layers.npz", "attribution.png", "attribution.npz", "mistakes.csv",
                "mistakes.png"}
    classes = data.test_labels.dtype == np.int32
    expected |= {"confusion.png", "confusion.csv"} if classes else {"targets.png"}
    if len(data.image_shape) == 3:
        expected.add("first-layer.png")
    assert names == expected
    reasons = " ".join(written.left_out)
    assert ("targets, not classes" in reasons) == (not classes)
    assert ("no images" in reasons) == (len(data.image_shape) == 1)
    if case == "targets":
        check_targets(data, written, tmp_path)
    # Attributions add up, of the outputs that they are about.
    with np.load(tmp_path / "attribution.npz") as found:
        axes = tuple(range(1, found["attributions"].ndim))
        total = found["attributions"].sum(axes)
        gained = found["outputs"] - found["outputs_at_baseline"]
        np.testing.assert_allclose(total - gained, found["gaps"], atol=1e-5)
        np.testing.assert_allclose(total, gained, atol=0.03 * np.abs(gained).max() + 1e-3)
        outputs = np.asarray(trained.predict(data.test_images[found["example"]]))
        own = outputs[np.arange(len(outputs)), found["output"]]
        np.testing.assert_allclose(found["outputs"], own, rtol=1e-4, atol=1e-5)
        assert found["mean_absolute"].shape == (data.outputs, *data.image_shape)
        assert found["mean_absolute_count"].sum() == len(data.test_labels)
        assert len(found["example"]) == 4  # as many as outputs, and of two targets no fewer


def test_probabilities():
    outputs = np.array([[1000.0, 1001.0], [-1.0, 2.0]], np.float32)
    softmax = np.exp([[0, 1], [-3, 0]]) / np.exp([[0, 1], [-3, 0]]).sum(1, keepdims=True)
    np.testing.assert_allclose(numbers.probabilities(outputs, "cross_entropy"), softmax)
    np.testing.assert_allclose(numbers.probabilities(outputs, "sigmoid"),
                               [[1, 1], [1 / (1 + np.e), 1 / (1 + np.exp(-2))]])
    np.testing.assert_array_equal(numbers.probabilities(outputs, "squared_error"), outputs)


def test_outputs_do_not_depend_on_how_many_are_asked_for_at_once():
    data, network, loss = CASES["features"]
    trained = trained_on(data, network, loss)
    many = np.concatenate([data.test_images] * 8)  # 240: the last batch is not full
    np.testing.assert_allclose(numbers.outputs_of(trained, many), trained.predict(many), rtol=1e-5,
                               atol=1e-6)


def test_first_kernels_as_images():
    for case, units in (("colour", 5), ("two channels", 6)):
        data, network, loss = CASES[case]
        trained = trained_on(data, network, loss)
        kernel = np.asarray(trained.params[0]["kernel"])
        path, images = numbers.first_images(trained)
        assert path == "0/kernel"
        assert len(images) == units
        if kernel.ndim == 4:
            np.testing.assert_array_equal(images[3][1, 2, 0], kernel[1, 2, 0, 3])
        else:  # what multiplies a pixel stands where that is
            pixels = RANDOM.normal(size=images.shape[1:])
            np.testing.assert_allclose((images[2] * pixels).sum(), pixels.ravel() @ kernel[:, 2])
    odd = trained_on(CASES["colour"][0], CASES["colour"][1], "cross_entropy")
    odd.params[0]["kernel"] = np.zeros((4, 2))
    assert "0/kernel of shape (4, 2) multiplies" in numbers.first_images(odd)


def test_layers_are_counted():
    codes, levels = np.array([[0, 1, 1], [3, 1, 0]]), np.array([-1, 0, 0.5, 1], np.float32)
    network = (networks.Dense(3),)
    params = ({"kernel": levels[codes], "bias": np.zeros(3, np.float32)},)
    trained = Trained(network, params, ({},), Inputs((2,)), codes={"0/kernel": (codes, levels)})
    assert numbers.layers(trained) == [
        numbers.Layer("0/kernel", (2, 3), 6, 3, 4, 0.5, 0.5)]
    np.testing.assert_allclose(numbers.shares(codes, levels), [1 / 3, 1 / 2, 0, 1 / 6])
    floats = Trained(network, params, ({},), Inputs((2,)))
    assert numbers.layers(floats)[0][3:] == (None, None, 0.5, None)


def test_examples_in_turn_and_means_of_each():
    which = np.array([2, 2, 0, 2, 0, 5])
    np.testing.assert_array_equal(attributions.examples(which, 5), [2, 0, 5, 4, 1])
    values = RANDOM.normal(size=(6, 3, 2))
    means = attributions.mean_sizes(values, which, 6)
    np.testing.assert_allclose(means[2], np.abs(values[[0, 1, 3]]).mean(0), rtol=1e-6)
    assert np.isnan(means[[1, 3, 4]]).all()


def test_networks_and_data_that_do_not_fit_are_refused():
    data, network, loss = CASES["features"]
    trained = trained_on(data, network, loss)
    numbers.check(trained, data)
    with pytest.raises(ValueError, match=r"has inputs of shape \(12,\) and 2 outputs, where the "
                       r"network has \(80,\)"):
        numbers.check(trained, CASES["targets"][0])
    trained.params[1]["kernel"] = trained.params[1]["kernel"].at[0, 0].set(np.nan)
    with pytest.raises(ValueError, match="weights of 1/kernel are not finite"):
        numbers.check(trained, data)
