"""Where results come from: what is kept of it beside every replica."""

import subprocess
from pathlib import Path
from typing import Any

import jax
import jaxlib

import qjax

__all__ = ["origin"]


def origin() -> dict[str, Any]:
    """Where results come from: devices, versions and the git commit of the code."""
    devices = jax.devices()
    return {
        "device": f"{len(devices)} x {devices[0].device_kind}",
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "qjax": qjax.__version__,
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """Commit of the checkout this file is tracked in, "-dirty" if it was changed since."""

    def git(*words):
        return subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )

    try:
        if git("ls-files", "--error-unmatch", __file__).returncode:
            return None  # installed somewhere inside another project's checkout
        return git("describe", "--always", "--dirty", "--abbrev=12").stdout.strip() or None
    except FileNotFoundError:
        return None
