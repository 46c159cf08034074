"""The benchmark: its arithmetic, its reports, and that the variants of a step are what they say."""

import importlib.util
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import bench, benchmark
from experiments.benchmark import Shape, breakdown
from qjax import training
from qjax.blocks import init_network
from qjax.networks import lenet

MACHINE = {"device": "cpu", "devices": 2, "cores": 2, "processor": "x", "jax": "1",
           "matmul_gflops": 100.0, "copy_gbytes": 10.0}


def row(replicas=28, ms=0.5, algorithm="backprop"):
    return {"algorithm": algorithm, "n_layers": 0, "hidden_width": 4, "replicas": replicas,
            "ms_per_replica_step": ms, "evaluation_s": 0.1, "compile_s": 2.0,
            "bytes_per_replica_step": 10**6}


def report(rows, floor_ms=0.1, **machine):
    return {"machine": MACHINE | machine, "floor_ms": floor_ms, "rows": rows}


def test_products_of_a_step():
    # 784-4-10, batch 64: two forward, two weight gradients, one input gradient.
    first, second = 2 * 64 * 784 * 4, 2 * 64 * 4 * 10
    assert benchmark.product_flops(Shape(0, 4)) == 2 * first + 3 * second
    assert benchmark.product_flops(Shape(0, 4, batch_size=256)) == 4 * (2 * first + 3 * second)


def test_products_of_lenet():
    """From the weights of the network itself."""
    inputs = jnp.zeros((2, 28, 28, 1))
    params, _ = init_network(jax.random.key(0), lenet(10), inputs)
    uses = [28 * 28, 10 * 10, 1, 1, 1]
    layers = [2 * 64 * count * block["kernel"].size
              for count, block in zip(uses, params, strict=True)]
    assert benchmark.product_flops(Shape(0, 0, "lenet")) == 3 * sum(layers) - layers[0]


def test_bytes_of_a_step():
    params, state = {"w": jnp.zeros((3, 5))}, (jnp.zeros((3, 5)), jnp.zeros((3, 5)))
    assert breakdown.step_bytes(params, state) == 4 * 15 * (6 + 2 * 2)


def test_figures_relative_to_the_machine():
    found = benchmark.relate(row(ms=0.5), MACHINE, torch_ms=2.0)
    assert found["gflops"] == pytest.approx(benchmark.product_flops(Shape(0, 4)) / 0.5e-3 / 1e9)
    assert found["gflops_share"] == pytest.approx(found["gflops"] / 100)
    assert found["gbytes"] == pytest.approx(2.0)  # 1 MB in half a millisecond
    assert found["gbytes_share"] == pytest.approx(0.2)
    assert found["floors"] == pytest.approx(1 / max(found["gflops_share"], found["gbytes_share"]))
    assert found["torch_ratio"] == pytest.approx(4.0)
    assert found["ensemble_ratio"] is None
    beside = benchmark.relate(row(ms=0.5), MACHINE, 2.0, ensemble_ms=0.75)
    assert beside["ensemble_ratio"] == pytest.approx(1.5)
    assert benchmark.relate(row(algorithm="fa"), MACHINE, 2.0, None, 1.0)["ensemble_ratio"] is None
    assert benchmark.relate(row(), MACHINE, None)["torch_ratio"] is None
    # The loop is backprop's: no ratio for the others. So is what aihwkit trains.
    others = benchmark.relate(row(algorithm="fa"), MACHINE, 2.0, 10.0)
    assert (others["torch_ratio"], others["simulator_ratio"]) == (None, None)
    beside = benchmark.relate(row(ms=0.5), MACHINE, None, simulator_ms=10.0)
    assert beside["simulator_ratio"] == pytest.approx(20.0)


def test_stacked_networks_are_timed_where_torch_is():
    ms = benchmark.torch_ensemble_step_ms(Shape(0, 4), 3, 2)
    assert ms is None or ms > 0
    assert (ms is None) >= (importlib.util.find_spec("torch") is None)


def test_only_what_the_simulator_has_is_timed_there():
    assert benchmark.simulator_step_ms("nearest", True, Shape(0, 4)) is None
    ms = benchmark.simulator_step_ms("soft_bounds", True, Shape(0, 4), 2)
    assert (ms is not None) == (importlib.util.find_spec("aihwkit") is not None)


def test_parts_and_rest_add_up():
    times = {"all": 10.0, "optimizer": 8.0, "quantization": 9.0, "weight ranges": 9.5, "bare": 6.0,
             "data order": 0.5, "evaluation": 3.0}
    parts = breakdown.parts_of(times)
    assert parts["optimizer"] == 2.0
    assert parts["forward/backward"] == 5.5
    assert parts[breakdown.TOTAL] == 13.0
    assert sum(parts[name] for name in (*breakdown.PARTS, breakdown.REST)) == pytest.approx(13.0)


def test_comparison_pairs_rows_and_says_what_differs():
    old = report([row(1), row(28, ms=0.5)], floor_ms=0.1)
    new = report([row(28, ms=0.4), row(112)], floor_ms=0.2, cores=4)
    (pair,), remarks = benchmark.compare(old, new)
    assert pair["replicas"] == 28
    assert pair["ms_per_replica_step"] == pytest.approx((0.5, 0.4, 0.8))
    assert pair["floors"] == pytest.approx((5.0, 2.0, 0.4))  # as rows of old do not say
    slow, fast = (report([row(28) | {"floors": floors}], matmul_gflops=speed)
                  for floors, speed in ((6.0, 75), (3.0, 119)))
    (pair,), (remark,) = benchmark.compare(slow, fast)
    assert pair["floors"] == (6.0, 3.0, 0.5)
    assert "at 75 then, 119 now" in remark
    assert benchmark.compare(fast, report(fast["rows"], matmul_gflops=110))[1] == []
    longer = report([row(28) | {"steps": 45}]), report([row(28) | {"steps": 2}])
    assert "45 steps then, 2 now" in benchmark.compare(*longer)[1][0]
    assert "x 28" in benchmark.compare(*longer)[1][0]
    assert benchmark.compare(new, longer[0])[0]
    assert not any("steps" in r for r in benchmark.compare(new, longer[0])[1])
    assert any("cores: 2 then, 4 now" in r for r in remarks)
    assert any("old report: backprop (0,4) x 1" in r for r in remarks)
    assert any("new report: backprop (0,4) x 112" in r for r in remarks)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "damaged or no JSON"),
        ("[1, 2]", "not a report"),
        (json.dumps(report([])), "not a report"),
        (json.dumps(report([row(), row()])), "not a report"),
        (json.dumps(report([row(ms=-1)])), "not a report"),
        (json.dumps(report([row(ms=math.inf)])), "not a report"),
        (json.dumps({"rows": [row()]}), "not a report"),
        (json.dumps(report([row() | {"floors": None}])), "not a report"),
        (json.dumps(report([row()], copy_gbytes="12")), "not a report"),
        (json.dumps(report([row()]) | {"machine": "x"}), "not a report"),
    ],
    ids=["empty", "list", "no-rows", "twice", "negative", "infinite", "no-machine", "no-floors",
         "no-speed", "machine-word"],
)
def test_reports_that_cannot_be_compared(tmp_path, content, message):
    path = tmp_path / "old.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        benchmark.read_report(path)
    with pytest.raises(ValueError, match="cannot read"):
        benchmark.read_report(tmp_path / "none.json")


def test_command_line(tmp_path, capsys, monkeypatch):
    path = tmp_path / "bench.json"
    tiny = ["--algorithm", "fa", "--n-layers", "0", "--hidden-width", "4", "--steps", "2",
            "--replicas", "2", "--batch-size", "32"]
    assert bench.main([*tiny, "--json", str(path)]) == 0
    written = benchmark.read_report(path)
    (found,) = written["rows"]
    assert found["algorithm"] == "fa"
    assert found["replicas"] == 2
    assert found["batch_size"] == 32
    assert written["floor_ms"] == pytest.approx(
        benchmark.product_flops(Shape(0, 4, batch_size=32))
        / written["machine"]["matmul_gflops"] / 1e6)
    assert found["memory_bytes"] > 60_000 * 784  # MNIST's images alone
    assert 0 < found["gflops_share"] < 1
    assert {p["part"] for p in written["breakdown"]} == {
        *breakdown.PARTS, breakdown.REST, breakdown.TOTAL
    }
    assert "fa" in capsys.readouterr().out

    # The same figures again, without a second measurement.
    monkeypatch.setattr(benchmark, "about_machine", lambda: written["machine"])
    monkeypatch.setattr(benchmark, "measure", lambda program, replicas: dict(found))
    assert bench.main([*tiny, "--no-breakdown", "--compare", str(path)]) == 0
    assert "ratio: new by old" in capsys.readouterr().out
    with pytest.raises(SystemExit):  # before anything is measured
        bench.main([*tiny, "--batch-size", "64", "--compare", str(path)])
    assert "none of the rows" in capsys.readouterr().err


def test_bad_command_lines(tmp_path, capsys):
    for words, message in [
        (["--algorithm", "backpropp"], "backprop"),
        (["--compare", str(tmp_path / "none.json")], "cannot read"),
        (["--json", str(tmp_path / "no" / "such.json")], "cannot write"),
        (["--replicas", "0"], "at least 1"),
    ]:
        with pytest.raises(SystemExit):
            bench.main(words)
        assert message in capsys.readouterr().err


def test_sizes_that_say_nothing_are_noted(monkeypatch, capsys):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "about_machine", stop)
    for network, told in {"lenet": ["n_layers 5", "hidden_width 7"], "recurrent": ["n_layers 5"],
                          "mlp": []}.items():
        with pytest.raises(KeyboardInterrupt):
            bench.main(["--network", network, "--n-layers", "5", "--hidden-width", "7",
                        "--algorithm", "backprop"])
        printed = capsys.readouterr().out
        assert printed.count("note:") == len(told)
        assert all(words in printed for words in told)


@pytest.fixture(scope="module")
def trained():
    """Parameters after an epoch with each variant of a backprop step, 2 replicas."""
    program = breakdown.make_program("backprop", Shape(0, 4), 2, 4)
    settings, found = program.settings(0), {}
    keys = program.keys([0], 1)
    for name, variant in breakdown.variants(program).items():
        phase, own = variant.phase, variant.settings(settings)
        epoch = training.make_epoch(
            phase, evaluate_after=False, batch_size=64, shuffle=True,
            preprocess=program.inputs, mesh=program.mesh,
        )
        states = program.init()(program.keys([0], 0), own)
        states = training.make_begin(phase, program.mesh)(own, states)
        states, _ = epoch(keys, 0, own, states, program.data)
        found[name] = jax.tree.map(np.asarray, jax.tree.leaves(states))
    return found


def matrix(leaves):
    """The first layer's weights of the first replica, of states' leaves."""
    return next(x for x in leaves if x.shape[-2:] == (4, 784))[0, 0]


def levels(leaves):
    return len(np.unique(matrix(leaves)))


@pytest.mark.thorough
def test_variants_leave_out_what_they_say(trained):
    # Without ranges the training is the same; without quantization more levels than 8 bits have.
    np.testing.assert_array_equal(matrix(trained["weight ranges"]), matrix(trained["all"]))
    assert levels(trained["all"]) < 256 < levels(trained["quantization"])
    assert levels(trained["optimizer"]) < 256
    assert not np.array_equal(matrix(trained["optimizer"]), matrix(trained["all"]))
    assert all(leaf.shape[-2:] != (4, 784) for leaf in trained["data order"])


def test_what_does_not_go_together_is_refused_before_anything_is_timed(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--network", "recurrent", "--algorithm", "backprop", "hsic"])
    assert "--network recurrent with hsic" in capsys.readouterr().err
