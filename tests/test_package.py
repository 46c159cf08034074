"""What is published: the wheel is the library and nothing else, the sdist has all tests need."""

import email
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What the commands need beyond the library; scipy comes with jax.
EXTRAS = ("matplotlib", "orbax", "rich", "sklearn", "tensorflow", "tensorflow_datasets")

# Imports all of the wheel, where nothing else of ours is, and rounds three weights to 2 bits.
PROGRAM = f"""
import importlib, pkgutil, sys
import flax.linen, flax.nnx, jax, optax  # flax takes rich for itself

for name in [name for name in sys.modules if name.partition(".")[0] in {EXTRAS}]:
    del sys.modules[name]

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
import qjax
for module in pkgutil.walk_packages(qjax.__path__, "qjax."):
    importlib.import_module(module.name)

memory = qjax.memories.Nearest(qjax.quantize.make_quantizer(2, "symm"))
print(qjax.__file__, qjax.__version__, importlib.util.find_spec("experiments"))
print(memory.init(jax.random.key(0), jax.numpy.asarray([-1, 0.2, 0.7])))
"""


def run(*words, **more):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ours(folder):
    """Files of a folder of the repository, by their path in it; none that are hidden."""
    return {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*")
            if path.is_file() and path.suffix != ".pyc" and not path.name.startswith(".")}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(wheel, sdist), from a copy: building writes beside the sources."""
    copy, out = tmp_path_factory.mktemp("source") / "qjax", tmp_path_factory.mktemp("built")
    left = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "results",
                                  "*.png", "*.pdf")
    shutil.copytree(ROOT, copy, ignore=left)
    # The wheel is built out of the sdist; with the setuptools of this environment, so offline.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, copy)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def metadata(built):
    with zipfile.ZipFile(built[0]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(wheel.read(name))


def test_the_wheel_is_the_library_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
    information = {name for name in names if ".dist-info/" in name}
    assert names - information == ours("qjax")
    assert "qjax/py.typed" in names
    assert any(name.endswith("/LICENSE") for name in information)


def test_the_library_requires_no_extras(metadata):
    required = [r for r in metadata.get_all("Requires-Dist") if "extra ==" not in r]
    assert {re.match(r"[\w-]+", r)[0] for r in required} == {"jax", "flax", "optax", "numpy"}


def test_everything_says_the_same_about_version_and_licence(metadata):
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {metadata['Version']}\n" in citation
    assert "\nlicense: Apache-2.0\n" in citation
    assert (metadata["License-Expression"] or metadata["License"]) == "Apache-2.0"
    assert "Apache License\n" in (ROOT / "LICENSE").read_text()
    assert f'__version__ = "{metadata["Version"]}"' in (ROOT / "qjax/__init__.py").read_text()
    assert f"\n## [{metadata['Version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_sdist_has_what_tests_need(built):
    with tarfile.open(built[1]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    for folder in ("qjax", "experiments", "tests"):
        assert ours(folder) <= names
    assert {name for name in ours("figures") if re.search(r"\.csv(\.gz)?$", name)} <= names
    assert {name for name in ours("docs") if re.search(r"\.(md|ipynb)$", name)} <= names
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile",
            "pyproject.toml", "setup.cfg"} <= names


def test_an_installed_wheel_works_without_extras(built, metadata, tmp_path):
    fresh = tmp_path / "fresh"
    run(sys.executable, "-m", "venv", "--without-pip", fresh)
    python = fresh / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index",
        built[0])
    # jax and the like it sees where they are installed; not what is installed there in place.
    (packages,) = fresh.glob("lib/*/site-packages")
    others = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (packages / "others.pth").write_text("\n".join(others) + "\n")
    told = run(python, "-I", "-c", PROGRAM, cwd=tmp_path).splitlines()
    file = packages / "qjax" / "__init__.py"
    assert told == [f"{file} {metadata['Version']} None", "[-1.  0.  1.]"]
