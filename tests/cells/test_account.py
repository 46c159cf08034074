"""Bits of memory per weight, against sums by hand."""

from dataclasses import replace

import pytest

from experiments.cells import NONE, Cell, account_of

# 64-20-20-10: kernels of 1280, 400 and 200 elements, 50 biases.
CELL = Cell(
    algorithm="backprop", dataset="digits", n_layers=1, hidden_width=20, n_bits=2,
    quantizer="symm", scope="global", update="stochastic", optimizer="sgd", lr=0.1, gamma=1.0,
    weight_decay=0.0, gradient_bits=None, batch_size=64, epochs=1, readout_epochs=0, bias="float",
)
WEIGHTS, BIASES = 1280 + 400 + 200, 50


@pytest.mark.parametrize(("changes", "device", "beside"), [
    ({}, 2, 32 * BIASES),
    ({"bias": "quantized"}, 2, 2 * BIASES),
    ({"optimizer": "normalized"}, 2, 32 * BIASES),
    ({"optimizer": "balanced", "threshold": 1.5}, 2, 32 * BIASES),
    ({"optimizer": "sign"}, 2, 32 * BIASES),
    ({"optimizer": "momentum"}, 2, 32 * (2 * BIASES + WEIGHTS)),
    ({"optimizer": "adam"}, 2, 32 * (3 * BIASES + 2 * WEIGHTS)),
    ({"optimizer": "adam", "optimizer_bits": 4}, 2, 32 * BIASES + 8 * (BIASES + WEIGHTS)),
    # Rows and columns of 64x20, 20x20, 20x10; a bias has no second axis, and keeps all; unused
    # places hold a number each: two of a bias, one of a kernel.
    ({"optimizer": "factored"}, 2, 32 * (BIASES + 84 + 40 + 30 + BIASES + 9)),
    ({"update": "latent"}, 2, 32 * WEIGHTS + 32 * BIASES),
    ({"update": "counter", "hidden_bits": 4}, 2, 2 * WEIGHTS + 32 * BIASES),
    ({"update": "hidden", "hidden_bits": 4}, 2, 4 * WEIGHTS + 32 * BIASES),
    ({"algorithm": "usf"}, 2, 32 * BIASES),
    ({"algorithm": "fa"}, 2, 2 * WEIGHTS + 32 * BIASES),
    # Matrices that are never written need no hidden bits.
    ({"algorithm": "fa", "update": "hidden", "hidden_bits": 4}, 2,
     4 * WEIGHTS + 2 * WEIGHTS + 32 * BIASES),
    ({"algorithm": "kp", "optimizer": "momentum"}, 2,
     2 * WEIGHTS + 32 * (2 * WEIGHTS + 2 * BIASES)),
    ({"algorithm": "dfa"}, 2, 2 * (2 * 10 * 20) + 32 * BIASES),
    # A linear synthesizer maps 20 units and 10 classes to 20: two kernels, two biases.
    ({"algorithm": "dni_linear", "synthesizer_lr": 0.1}, 2,
     32 * BIASES + 2 * 32 * (20 * 20 + 10 * 20 + 40)),
    ({"n_bits": None, "quantizer": NONE, "scope": NONE, "update": NONE, "bias": "quantized"}, 32,
     32 * BIASES),
])
def test_accounts_are_sums_by_hand(changes, device, beside):
    account = account_of(replace(CELL, **changes))
    assert account.device == pytest.approx(device)
    assert account.beside == pytest.approx(beside / WEIGHTS, rel=1e-5)
    assert account.total == account.device + account.beside


def test_of_two_phases_the_one_that_needs_more_counts():
    hsic = replace(CELL, algorithm="hsic", readout_epochs=1)
    # A body of 64-20-20-10, with a running mean and variance for each of its 50 units, and a
    # readout of 10-10, whose own optimizer, adadelta, keeps two floats for each of 110 parameters.
    weights, always = WEIGHTS + 100, 32 * (BIASES + 10) + 64 * 50
    assert account_of(hsic).beside == pytest.approx((always + 64 * 110) / weights, rel=1e-5)
    adam = replace(hsic, optimizer="adam")
    more = 64 * (WEIGHTS + BIASES)
    assert account_of(adam).beside == pytest.approx((always + more) / weights, rel=1e-5)


def test_what_assigns_units_to_classes_counts():
    counted = replace(CELL, algorithm="hsic_unformatted")
    # No readout: 10 x 10 sums of activations by class and 10 counts.
    always = 32 * BIASES + 64 * 50 + 32 * 110
    assert account_of(counted).beside == pytest.approx(always / WEIGHTS, rel=1e-5)
