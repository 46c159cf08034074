import os

# Before jax is imported anywhere: a CPU suffices, and tests must not take over an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
