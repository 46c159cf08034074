"""Retention from the command line: trained, left alone for a while, tested."""

import contextlib
import io

import pytest

from experiments import run
from experiments.store import Store

WORDS = ("--algorithm hsic --dataset digits --n-layers 0 --hidden-width 5 --seeds 2 "
         "--epochs 2 --readout-epochs 1 --memory soft_bounds --optimizer sgd --lr 0.3")
TESTED = ("test_loss", "test_accuracy", "train_loss", "train_accuracy")


def trained(out, *words):
    with contextlib.redirect_stdout(io.StringIO()):
        assert run.main([*WORDS.split(), *words, "--out", str(out)]) == 0
    with Store(out, create=False) as store:
        rows = {r["id"]: r for r in store.replicas()}
        return rows, [rows[e["replica"]] | e for e in store.history("epochs")]


@pytest.fixture(scope="module")
def waited(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("waited"), "--set", "nu=0.1", "nu_dtod=1",
                   "--wait", "0", "0.5", "3600", "1e9")


def test_only_the_last_test_is_after_the_wait(waited):
    rows, epochs = waited
    of = {(r["seed"], r["wait"]): r for r in rows.values()}
    curves = {key: [e for e in epochs if e["replica"] == r["id"]] for key, r in of.items()}
    for (seed, _), curve in curves.items():
        at_once = curves[seed, 0.0]
        assert [e["objective"] for e in curve] == [e["objective"] for e in at_once]
        for now, then in zip(curve[:-1], at_once[:-1], strict=True):
            assert [now[name] for name in TESTED] == [then[name] for name in TESTED]
    for seed in range(2):
        none, short, hour, years = (of[seed, w] for w in (0.0, 0.5, 3600.0, 1e9))
        for name in TESTED:  # before t_0 nothing drifts
            assert short[name] == pytest.approx(none[name], rel=1e-5)
        for name in ("test_loss", "train_loss"):  # of a dead network they may be the same
            assert len({round(r[name], 5) for r in (none, hour, years)}) >= 2


def test_it_is_refused_where_nothing_drifts(capsys, tmp_path):
    with pytest.raises(SystemExit):
        run.main([*WORDS.split(), "--wait", "60", "--out", str(tmp_path)])
    assert "--set nu=0.05" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_only_what_drifts_waits(capsys, tmp_path):
    words = ("--memory soft_bounds nearest --n-bits 4 float --set nu=0,0.05 --wait 0 60 3600 "
             "--algorithm backprop --dry-run")
    args = run.parser().parse_args([*WORDS.split(), *words.split()])
    waits = {}
    for cell in run.cells_of(args):
        waits.setdefault((cell.update, cell.numbers), []).append(cell.wait)
    assert waits == {("nearest", ""): [0.0], ("none", ""): [0.0], ("soft_bounds", ""): [0.0],
                     ("soft_bounds", "nu=0.05"): [0.0, 60.0, 3600.0]}
