"""Settings of all tests, made before jax is imported anywhere."""

import gc
import os
import tempfile
import zlib
from importlib.metadata import version

import pytest
from packaging.version import Version

# A CPU suffices, and tests must not take over an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Hundreds of small programs are compiled and run for milliseconds: LLVM's optimizations would take
# longer than what they speed up. (XLA_FLAGS= in the environment tests what users run.)
# The others save a third of the compilation in one thread, which is all that a test has. jaxlib
# ends where it does not know a flag, and since 0.11.1 it does not know the last one.
_FLAGS = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
if Version(version("jaxlib")) < Version("0.11.1"):
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(_FLAGS))
# Programs are compiled once for all tests and their subprocesses, and forgotten afterwards.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = tempfile.TemporaryDirectory(prefix="qjax-programs-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# Where in the source an operation came from is written into every program, for nobody to read; and
# Python looks for garbage every few hundred objects, of which a trace has thousands. Of 48 s for
# the tests of algorithms and memories the two take 3 and 5.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
gc.set_threshold(50_000, 20, 20)


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="also what is marked thorough")


def pytest_collection_modifyitems(config, items):
    """Without --all leaves out what is marked `thorough`, but for so many of its cases.

    They are spread evenly over all, from another first one in every test, so that one algorithm is
    not left out everywhere. Whoever names a test means it.
    """
    if config.getoption("all") or any("::" in argument for argument in config.args):
        return
    cases = {}
    for item in items:
        if item.get_closest_marker("thorough"):
            cases.setdefault((item.path, item.originalname), []).append(item)
    left_out = set()
    for of_one in cases.values():
        but = of_one[0].get_closest_marker("thorough").kwargs.get("but", 0)
        first = zlib.crc32(of_one[0].originalname.encode())
        places = {(first + i * len(of_one) // but) % len(of_one) for i in range(but)}
        left_out.update(item for i, item in enumerate(of_one) if i not in places)
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session", autouse=True)
def _quick_starts():
    """What draws the first weights has a level of its own, which is above that of all others."""
    from qjax import training

    training._INIT_OPTIONS.clear()


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """A store of one algorithm: three widths, all quantizers and float; three seeds, two epochs."""
    from examples import store_of, sweep  # which import jax

    return store_of(tmp_path_factory.mktemp("swept"), sweep())
