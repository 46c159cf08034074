"""Tests of trained networks as files: all that is in them comes back, and predicts the same."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax
from qjax import algorithms, blocks, networks
from qjax.devices import Converters, Crossbar
from qjax.grids import make_grid
from qjax.quantize import make_quantizer, quantize
from qjax.saved import Inputs, Trained, codes_of

IMAGES = jax.random.uniform(jax.random.key(0), (5, 8, 8, 1), minval=0, maxval=255)
INPUTS = Inputs((8, 8, 1), 0.0, 255.0, 0.1307, 0.3081)


def softer(x):
    """An activation of one's own."""
    return jnp.tanh(x / 2)


class Twice(nn.Module):
    """A block of one's own, with batch statistics."""

    features: int
    activation: object = softer

    @nn.compact
    def __call__(self, x, train=True):
        """[batch, ...] -> [batch, features]."""
        x = nn.Dense(self.features)(x.reshape(len(x), -1))
        return self.activation(networks.BatchNorm()(x, train))


def trained(network, **more):
    params, collections = blocks.init_network(jax.random.key(1), network, INPUTS(IMAGES))
    return Trained(network, params, collections, INPUTS, **more)


def again(network, tmp_path):
    network.save(tmp_path / "net.npz")
    return qjax.load(tmp_path / "net.npz")


@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("network", [
    networks.mlp([7, 6], 3, "learned"),
    (networks.Conv(3, size=3, pool=True, gain="fixed"), networks.Residual(4, nn.tanh),
     networks.Dense(2, activation=networks.identity)),
    (Twice(5), nn.Dense(3)),
    algorithms.hsic(networks.mlp([5], 3)).network,
    networks.recurrent(4, 3, "fixed", truncation=2),
    algorithms.hsic(networks.mlp([5], 3), sigma=(1.0, 5.0), formatted=False).network,
], ids=["mlp", "convolutions", "own", "hsic", "recurrent", "hsic of several widths, unformatted"])
def test_a_network_comes_back_and_predicts_the_same(tmp_path, network):
    ours = trained(network, about={"seed": 3, "nothing": None, "names": ["a"]})
    theirs = again(ours, tmp_path)
    assert theirs.network == network
    assert theirs.inputs == INPUTS
    assert theirs.about == {"seed": 3, "nothing": None, "names": ["a"], "format": 1}
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
    jax.tree.map(np.testing.assert_array_equal, ours.collections, theirs.collections)
    expected = blocks.forward(network, ours.params, ours.collections, INPUTS(IMAGES))
    np.testing.assert_allclose(ours.predict(IMAGES), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(theirs.predict(IMAGES), ours.predict(IMAGES))


@pytest.mark.thorough
def test_converters_and_what_else_there_is_come_back(tmp_path):
    crossbar = Crossbar(Converters(inp_res=jnp.float32(0.1), out_bound=np.inf, out_noise=0.3),
                        None, noisy=True)
    codes = {"0/kernel": (np.arange(6).reshape(2, 3), np.float32([-1, 0, 1]))}
    held = {"blocks": {"0": {"kernel": {"state": np.arange(3.0)}}}}
    ours = trained(networks.mlp([4], 2), crossbar=crossbar, codes=codes, held=held)
    theirs = again(ours, tmp_path)
    np.testing.assert_array_equal(theirs.predict(IMAGES), ours.predict(IMAGES))
    exact = trained(networks.mlp([4], 2))
    assert np.abs(theirs.predict(IMAGES) - exact.predict(IMAGES)).max() > 0.01
    assert theirs.crossbar.forward.out_bound == np.inf
    np.testing.assert_array_equal(theirs.codes["0/kernel"][0], codes["0/kernel"][0])
    np.testing.assert_array_equal(theirs.held["blocks"]["0"]["kernel"]["state"], np.arange(3.0))
    assert theirs.fixed == {}


def test_inputs_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \(5, 64\): expected \[n, 8, 8, 1\]"):
        trained(networks.mlp([4], 2)).predict(IMAGES.reshape(5, 64))
    with pytest.raises(ValueError, match="n at least 1"):
        trained(networks.mlp([4], 2)).predict(IMAGES[:0])


def test_the_channel_of_grey_images_may_be_left_out():
    network = trained(networks.mlp([4], 2))
    np.testing.assert_array_equal(network.predict(IMAGES.reshape(5, 8, 8)),
                                  network.predict(IMAGES))


def test_a_network_is_printed_in_a_line():
    assert repr(trained(networks.mlp([4], 2))).startswith("Trained(network=(Dense, Dense), inputs=")


def test_files_of_others_are_refused_in_words(tmp_path):
    (tmp_path / "text.npz").write_text("not a network, but notes\n" * 50)
    np.savez(tmp_path / "data.npz", images=np.zeros(3))
    for name, why in (("text.npz", "it is no .npz file"), ("data.npz", "it has no about")):
        with pytest.raises(ValueError, match=rf"{why}\): expected a file from a run's OUT/netw"):
            qjax.load(tmp_path / name)


def test_inputs_by_channel():
    inputs = Inputs((2,), -1.0, 3.0, (0.5, 0.25), (2.0, 4.0))
    np.testing.assert_allclose(inputs(np.array([[1, 3], [-1, 0]])),
                               [[0, 0.1875], [-0.25, 0]], atol=1e-7)


@pytest.mark.parametrize(("bits", "kind", "scope"), [
    (2, "symm", "global"), (3, "symm", "local"), (1, "asymm", "local"), (4, "asymm", "global"),
    (3, "pow2", "local"), (2, "levels:-1:-0.3:0.3:1", "global"), (2, "levels:0:0.1:1", "local"),
    (8, "symm", "local"),
])
def test_codes_are_numbers_of_levels(bits, kind, scope):
    quantizer = make_quantizer(bits, kind, scope)
    weights = quantize(0.3 * jax.random.normal(jax.random.key(2), (40, 30)),
                       make_grid(0.3 * jax.random.normal(jax.random.key(2), (40, 30)), quantizer))
    codes, known = codes_of(weights, quantizer)
    assert codes.dtype == np.int32
    assert codes.min() >= 0
    assert (np.diff(known) > 0).all()
    np.testing.assert_allclose(known[codes], weights, rtol=0, atol=1e-6)
    if kind == "symm":
        assert len(known) == 2**bits - 1
    if kind == "asymm":
        assert len(known) == 2**bits


def test_floats_have_no_codes():
    assert codes_of(IMAGES, make_quantizer(None)) is None


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("values", [[np.nan, np.nan], [0.5, np.nan], [0.5, np.inf]])
def test_nor_have_weights_that_are_not_finite(values, scope):
    assert codes_of(np.float32(values), make_quantizer(3, "symm", scope)) is None


def test_what_cannot_be_written_is_named(tmp_path):
    network = (Twice(3, activation=lambda x: x), nn.Dense(2))
    with pytest.raises(TypeError, match=r"Twice\.activation is .* not a function of a module"):
        trained(network).save(tmp_path / "net.npz")
    assert not list(tmp_path.iterdir())

    class Local(nn.Module):
        """A class that nobody finds again."""

        @nn.compact
        def __call__(self, x):
            """[batch, ...] -> [batch, 2]."""
            return nn.Dense(2)(x.reshape(len(x), -1))

    with pytest.raises(TypeError, match="is no class of the module"):
        trained((Local(),)).save(tmp_path / "net.npz")


def test_files_that_are_none(tmp_path):
    good = tmp_path / "net.npz"
    trained(networks.mlp([4], 2)).save(good)
    (tmp_path / "text.npz").write_text("no")
    (tmp_path / "half.npz").write_bytes(good.read_bytes()[:200])
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.savez(tmp_path / "later.npz", about=json.dumps({"format": 2}))
    for name in ("text", "half", "other", "later"):
        with pytest.raises(ValueError, match=f"{name}.npz is no trained network of qjax"):
            qjax.load(tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError, match="is not there: expected a trained network"):
        qjax.load(tmp_path / "absent.npz")
    with pytest.raises(IsADirectoryError, match="is a folder: expected a trained network"):
        qjax.load(tmp_path)
