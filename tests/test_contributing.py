"""CONTRIBUTING.md: its four examples are one module and one line each, work together and train."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
STEPS = ("A learning algorithm", "A memory", "A quantizer", "An axis")
SECTIONS = {step: TEXT.partition(f"\n## {step}\n")[2].partition("\n## ")[0] for step in STEPS}
DIFFS = {step: re.search(r"```diff\n(.*?)```", text, re.DOTALL)[1]
         for step, text in SECTIONS.items()}


def test_each_step_is_a_module_and_a_line_or_an_entry_and_its_use():
    for step, diff in DIFFS.items():
        files = re.findall(r"^diff --git a/(\S+)", diff, re.MULTILINE)
        new = re.findall(r"^--- /dev/null\n\+\+\+ b/(\S+)", diff, re.MULTILINE)
        assert len(files) == 2, step
        assert len(new) == (0 if step == "An axis" else 1), step
        old = diff if step == "An axis" else diff.split("diff --git ")[
            1 + next(i for i, f in enumerate(files) if f not in new)]
        added = [line for line in old.splitlines() if re.match(r"\+(?!\+\+)", line)]
        # The import and the entry; of an axis: the entry, the field with its line of help, the use.
        assert len(added) == (10 if step == "An axis" else 2), (step, added)
        assert not re.search(r"^-(?!--)", diff, re.MULTILINE), "examples only add"


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A copy of the repository with all four."""
    root = tmp_path_factory.mktemp("grown")
    for folder in ("qjax", "experiments"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for step, diff in DIFFS.items():
        done = subprocess.run(["git", "apply", "-"], input=diff, text=True, cwd=root,
                              capture_output=True, check=False)
        assert done.returncode == 0, step + done.stderr
    return root


def run(root, words, *more):
    own = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run([sys.executable, "-m", *words.split(), *map(str, more)], cwd=root,
                          env=own, text=True, capture_output=True, check=False)


def in_one_program(root, commands):
    """Their exit codes are printed at the end. To start each would take longer than the work."""
    program = ("from importlib import import_module\n"
               f"print([import_module('experiments.' + c[0]).main(c[1:]) for c in {commands}])")
    return subprocess.run(
        [sys.executable, "-c", program], cwd=root, text=True, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def exported(root, out):
    done = run(root, "experiments.export", "--out", out)
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_all_four_train_tabulate_and_plot_at_once(grown):
    out = grown / "all"
    done = run(
        grown,
        "experiments.run --dataset digits --algorithm local_errors --n-layers 0 --hidden-width 40 "
        "--n-bits 4 --quantizer squares --scope global --gain 1.5 --bias float --memory noisy "
        "--set write_noise=0,1 --dead-zone 0 0.9 --optimizer adam --lr 0.02 --epochs 8 --seeds 1",
        "--out", out,
    )
    assert done.returncode == 0, done.stderr
    assert "write_noise=1.0" in done.stdout
    rows = {(r["numbers"], r["dead_zone"]): float(r["test_accuracy"]) for r in exported(grown, out)}
    assert len(rows) == 4
    # One that trains; noise as large as the range, and gradients of next to no weight, do harm.
    good = rows["write_noise=0.0", "0.0"]
    assert good > 75
    assert rows["write_noise=1.0", "0.0"] < good - 10
    assert rows["write_noise=0.0", "0.9"] < good - 3
    done = in_one_program(grown, [[command, "--results", str(out)]
                                  for command in ("plot", "tables")])
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[0, 0]\n")


def test_the_commands_of_the_text_plan_what_they_say(grown):
    commands = [re.search(r"```bash\npython -m experiments.run (.*?)```", section, re.DOTALL)[1]
                for section in SECTIONS.values()]
    done = in_one_program(grown, [
        ["run", *command.replace("\\\n", " ").split(), "--dry-run", "--out", str(grown / "dry")]
        for command in commands])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nothing was run") == 4
    assert "[0, 0, 0, 0]" in done.stdout


def test_the_study_of_few_bits_takes_them_up(grown):
    done = run(
        grown,
        "experiments.lowbit --dataset digits --algorithm local_errors --n-bits 2 --lr 0.02 "
        "--gain 1 --memory noisy nearest --set write_noise=0,0.1 --dead-zone 0 0.1 --dry-run",
        "--out", grown / "dry",
    )
    assert done.returncode == 0, done.stderr
    assert "6 cells x 1 seed =" in done.stdout
