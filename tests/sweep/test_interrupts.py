"""Interruptions: signals become KeyboardInterrupt, even where Python drops the exception."""

import gc
import os
import signal
import sys

import pytest

from experiments.sweep.interrupts import Interrupts


@pytest.fixture(autouse=True)
def _foreground():
    """A background job of a shell starts with Ctrl-C ignored, and `Interrupts` respects that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_raises(number):
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_inside_a_finalizer_is_kept():
    class Object:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)

    with Interrupts() as interrupts:
        interrupts.check()  # nothing asked for yet
        Object()  # Python prints and drops what its finalizer raises
        gc.collect()
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


@pytest.mark.thorough
def test_what_python_drops_is_told_but_for_the_interruption(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: told.append(dropped.exc_type))

    class Object:
        def __init__(self, what):
            self.what = what

        def __del__(self):
            raise self.what

    with Interrupts():
        for what in (KeyboardInterrupt, ValueError):
            Object(what)
            gc.collect()
    assert told == [ValueError]
    Object(KeyboardInterrupt)
    gc.collect()
    assert told == [ValueError, KeyboardInterrupt]


def test_handlers_are_put_back_and_an_ignored_ctrl_c_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
