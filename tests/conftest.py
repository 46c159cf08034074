"""Settings of all tests, made before jax is imported anywhere."""

import os
import tempfile

import pytest

# A CPU suffices, and tests must not take over an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Hundreds of small programs are compiled and run for milliseconds: LLVM's optimizations would take
# longer than what they speed up. (XLA_FLAGS= in the environment tests what users run.)
# Both other flags save a third of the compilation in one thread, which is all that a test has.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1",
)
# Programs are compiled once for all tests and their subprocesses, and forgotten afterwards.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = tempfile.TemporaryDirectory(prefix="qjax-programs-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """A store of one algorithm: three widths, all quantizers and float; three seeds, two epochs."""
    from examples import store_of, sweep  # which import jax

    return store_of(tmp_path_factory.mktemp("swept"), sweep())
