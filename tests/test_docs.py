"""What the README and docs/ show: Python runs as it stands, commands are ones we know."""

import json
import re
from pathlib import Path

import pytest

from experiments import run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


def unique(pattern, flags=0):
    """Finds of a pattern with the page where each is found first, as a test's parameters."""
    found = {}
    for page, text in TEXTS.items():
        for each in re.findall(pattern, text, re.MULTILINE | flags):
            found.setdefault(each, f"{page}-{len(found)}")
    return [pytest.param(each, id=name) for each, name in found.items()]


SNIPPETS = unique(r"```python\n(.*?)```", re.DOTALL)
COMMANDS = unique(r"^python -m experiments\.run (?:.*\\\n)*.*$")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Runs a program in a folder of its own; in this process, where jax has started already."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    return lambda program: exec(compile(program, "program", "exec"), {"__name__": "__main__"})


def code_of(tutorial):
    cells = json.loads(tutorial.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_run(snippet, runs):
    runs(snippet)


@pytest.mark.thorough
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_run(tutorial, runs, capsys):
    runs(code_of(tutorial))
    assert capsys.readouterr().out


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_are_small_and_show_what_they_print(tutorial):
    assert tutorial.stat().st_size < 300_000
    cells = json.loads(tutorial.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if "print(" in "".join(cell["source"]) and cell["cell_type"] == "code":
            assert cell["outputs"], cell["source"]


def test_there_are_snippets_commands_and_tutorials():
    assert len(SNIPPETS) >= 12
    assert len(COMMANDS) >= 10
    assert len(TUTORIALS) >= 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With the modules and files that commands of the pages use."""
    place = tmp_path_factory.mktemp("pages")
    for text in TEXTS.values():
        for name, body in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, re.DOTALL):
            (place / name).write_text(body, encoding="utf-8")
    for config in re.findall(r"--config (\S+)", "\n".join(TEXTS.values())):
        if config.startswith("results/"):
            (place / config).parent.mkdir(parents=True, exist_ok=True)
            (place / config).write_text('algorithm = "fa"\n', encoding="utf-8")
    return place


@pytest.mark.parametrize("command", COMMANDS)
def test_run_commands_parse(command, folder, monkeypatch):
    words = command.replace("\\\n", " ").partition(" #")[0].split()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    if "--print" in words:
        with pytest.raises(SystemExit, match=r"^0$"):
            run.parser().parse_args(words[3:])
    else:
        assert run.cells_of(run.parser().parse_args(words[3:]))
