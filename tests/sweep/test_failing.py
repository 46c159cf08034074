"""Chunks that fail on their device: the others go on, and what is too large is halved."""

import jax
from examples import TINY
from programs import command

from experiments.sweep import sweep
from experiments.sweep.chunk import run_chunk


def failing(monkeypatch, message, when):
    """Makes chunks for which `when` holds end as if the device had reported `message`."""
    def failing_run(chunk, *args, **kwargs):
        if when(chunk):
            raise jax.errors.JaxRuntimeError(message)
        yield from run_chunk(chunk, *args, **kwargs)

    monkeypatch.setattr(sweep, "run_chunk", failing_run)


def test_a_program_that_fails_is_reported_and_the_others_go_on(tmp_path, monkeypatch):
    failing(monkeypatch, "INTERNAL: broken\nmore", lambda chunk: chunk.cells[0].n_layers == 1)
    result = command(tmp_path, TINY, "--seeds 1 --epochs 1 --n-bits 4 --n-layers 1 0")
    assert result.code == 1
    assert "1 replica: INTERNAL: broken" in result.printed
    assert "1 replica failed" in result.printed
    assert sorted((r["n_layers"], r["status"]) for r in result.replicas) == [
        (0, "done"), (1, "failed")
    ]


def test_out_of_memory_halves_the_chunk_and_goes_on(tmp_path, monkeypatch):
    failing(monkeypatch, "RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes",
            lambda chunk: len(chunk.replicas) > 2)
    result = command(tmp_path, TINY, "--seeds 2 --epochs 1 --n-bits 4 5 float")
    assert result.code == 0
    assert result.printed.count("out of memory") == 2  # 6, then 4 (and 2): 2 + 2 + 2
    assert [r["status"] for r in result.replicas] == ["done"] * 6


def test_what_was_halved_does_not_come_back_whole(tmp_path, monkeypatch):
    def late(chunk, *args, **kwargs):
        for epoch in run_chunk(chunk, *args, **kwargs):
            yield epoch
            if len(chunk.replicas) > 1:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(sweep, "run_chunk", late)
    result = command(tmp_path, TINY, "--seeds 2 --epochs 2 --n-bits 4")
    assert [r["status"] for r in result.replicas] == ["done"] * 2
    assert not (tmp_path / "checkpoints").exists()


def test_what_does_not_fit_alone_fails(tmp_path, monkeypatch):
    failing(monkeypatch, "RESOURCE_EXHAUSTED: Out of memory", lambda chunk: True)
    result = command(tmp_path, TINY, "--seeds 1 --epochs 1 --n-bits 4 5")
    assert result.code == 1
    assert [r["status"] for r in result.replicas] == ["failed"] * 2
