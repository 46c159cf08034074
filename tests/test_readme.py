"""Every Python snippet of the README runs as it stands, and its commands are ones we know."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import run

README = (Path(__file__).parent.parent / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    command.replace("\\\n", " ").split()
    for command in re.findall(r"^python -m experiments\.run(?:.*\\\n)*.*$", README, re.MULTILINE)
]


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippets_run(number, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", SNIPPETS[number]], cwd=tmp_path, capture_output=True, text=True,
        check=False, env={"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert result.returncode == 0, result.stderr


def test_there_are_snippets_and_commands():
    assert len(SNIPPETS) >= 4
    assert len(COMMANDS) >= 2


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words)[:60])
def test_run_commands_parse(command):
    assert run.cells_of(run.parser().parse_args(command[3:]))
