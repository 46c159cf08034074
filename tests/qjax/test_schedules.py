"""Learning rates over a training, against optax's schedules and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qjax.schedules import SCHEDULES, factor

EPOCHS = 4


def rates(name, gamma=0.7):
    """Factors at 5 steps of each epoch."""
    places = [(epoch, index / 5) for epoch in range(EPOCHS) for index in range(5)]
    return [float(factor(SCHEDULES[name], gamma, e, f, EPOCHS)) for e, f in places]


def test_constant():
    assert set(rates("constant")) == {1.0}


def test_exponential_falls_once_an_epoch():
    expected = [0.7**epoch for epoch in range(EPOCHS) for _ in range(5)]
    np.testing.assert_allclose(rates("exponential"), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("linear", optax.linear_schedule(1.0, 0.0, 20)),
     ("cosine", optax.cosine_decay_schedule(1.0, 20))],
)
def test_schedules_that_end_at_zero_agree_with_optax(name, theirs):
    np.testing.assert_allclose(rates(name), [theirs(i) for i in range(20)], atol=1e-6)


def test_a_training_that_is_over_has_no_rate_left():
    for name in ("linear", "cosine"):
        assert abs(float(factor(SCHEDULES[name], 1.0, EPOCHS + 3, 0.5, EPOCHS))) < 1e-7


def test_schedules_batch():
    numbers = jnp.arange(4)
    ours = jax.jit(jax.vmap(lambda n: factor(n, 0.5, 1, 0.0, 2)))(numbers)
    np.testing.assert_allclose(ours, [1.0, 0.5, 0.5, 0.5], atol=1e-6)
