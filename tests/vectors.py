"""Reads tests/reference/vectors.npz, numbers printed by the original PyTorch programs."""

from functools import cache
from pathlib import Path

import numpy as np

# The tensors of a 784-8-8-10 network, as the originals name their layers.
LAYERS = {
    "backprop": ("input_layer.0", "hidden_layers.0.0", "output_layer"),
    "fa": ("module.input_layer.0", "module.hidden_layers.0.0", "module.output_layer"),
    "dni": ("input_layer.0", "hidden_layers.0.0", "output_layer"),
    "hsic": ("input_layer.0", "sequence_layer.0.0", "output_layer.0"),
}
NORMS = ("input_layer.1", "sequence_layer.0.1", "output_layer.1")
SYNTHESIZERS = ("input_layer.2.synthesizer", "hidden_layers.0.2.synthesizer")
SYNTHESIZER_LAYERS = {
    "activation": "input_trigger",
    "context": "input_context",
    "layer_0": "layers.0",
}


@cache
def vectors():
    with np.load(Path(__file__).parent / "reference" / "vectors.npz") as archive:
        return dict(archive)


def affine(prefix, dtype):
    """{kernel, bias} stored under `prefix`; the originals keep weights as [out, in]."""
    v = vectors()
    return {
        "kernel": v[f"{prefix}.weight"].T.astype(dtype),
        "bias": v[f"{prefix}.bias"].astype(dtype),
    }


def params(algorithm, variant, k, dtype=np.float32):
    """All trained tensors after k steps (or "grad0"), as our parameter trees."""
    at = f"trajectory/{algorithm}/{variant}/{k}"
    prefixes = [
        f"{at}/layer{i}/{name}" if algorithm == "hsic" and k == "grad0" else f"{at}/{name}"
        for i, name in enumerate(LAYERS[algorithm])
    ]
    trees = {"blocks": tuple(affine(prefix, dtype) for prefix in prefixes)}
    if algorithm == "dni":
        trees["synthesizers"] = tuple(
            {ours: affine(f"{at}/{name}.{theirs}", dtype)
             for ours, theirs in SYNTHESIZER_LAYERS.items()}
            for name in SYNTHESIZERS
        )
    return trees


def fixed(algorithm, variant, k, dtype=np.float32):
    """Feedback matrices (fa) after k steps, as our trees."""
    if algorithm != "fa":
        return {}
    at, v = f"trajectory/{algorithm}/{variant}/{k}", vectors()
    return {"feedback": tuple(
        {"kernel": v[f"{at}/{name}.weight_backward"].T.astype(dtype)} for name in LAYERS["fa"]
    )}


def collections(algorithm, variant, k, dtype=np.float32):
    """Running statistics (hsic) after k steps, per block."""
    at, v = f"trajectory/{algorithm}/{variant}/{k}", vectors()
    if algorithm == "hsic":
        return tuple(
            {"batch_stats": {"BatchNorm_0": {
                "mean": v[f"{at}/{name}.running_mean"].astype(dtype),
                "variance": v[f"{at}/{name}.running_var"].astype(dtype),
            }}}
            for name in NORMS
        )
    return ({}, {}, {})
