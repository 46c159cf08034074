"""The time a sweep still needs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.sweep.forecast import Forecast, spell


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_the_rest_goes_at_the_pace_so_far():
    clock = Clock()
    forecast = Forecast(40.0, clock)
    assert forecast.seconds_left is None
    assert forecast.share == 0
    clock.now += 5
    forecast.finish(10.0)
    assert forecast.seconds_left == pytest.approx(15.0)
    assert forecast.share == pytest.approx(0.25)


def test_what_is_skipped_makes_us_no_faster():
    clock = Clock()
    forecast = Forecast(40.0, clock)
    forecast.skip(20.0)
    clock.now += 5
    forecast.finish(10.0)
    assert forecast.seconds_left == pytest.approx(5.0)
    assert forecast.share == pytest.approx(0.5)


@given(st.lists(st.floats(0.1, 1e12), min_size=1, max_size=20), st.floats(0.01, 1e3))
def test_nothing_is_left_in_the_end(parts, pace):
    clock = Clock()
    forecast = Forecast(sum(parts), clock)
    for part in parts:
        clock.now += pace * part
        forecast.finish(part)
    # Rounding of the sum apart.
    assert forecast.seconds_left == pytest.approx(0.0, abs=1e-9 * pace * sum(parts))
    assert forecast.share == pytest.approx(1.0)


def test_an_empty_sweep_is_done():
    assert Forecast(0.0).share == 1.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.4, "about 0 s left"), (75, "about 75 s left"),
     (1500, "about 25 min left"), (12600, "about 3.5 h left")],
)
def test_times_in_words(seconds, text):
    assert spell(seconds) == text
