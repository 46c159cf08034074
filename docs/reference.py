"""What the site has beside docs/*.md: the reference, and pages from elsewhere in the repository.

A hook of mkdocs (see mkdocs.yml). The reference is made while the site is built, out of the tables
of algorithms, memories, quantizers and commands, docstrings (by mkdocstrings, which reads and does
not import) and the commands' --help. Pages of the root stand in the site beside those of docs/.
"""

import contextlib
import importlib
import inspect
import io
import os
import pkgutil
import re
from functools import cache, partial
from pathlib import Path

os.environ |= {"JAX_PLATFORMS": "cpu", "COLUMNS": "92"}

from mkdocs.structure.files import File

import experiments
import qjax
from qjax.algorithms import ALGORITHMS
from qjax.devices import PRESETS
from qjax.kinds import KINDS, Kind
from qjax.memories import MEMORIES, Pulsed, about, named, numbers_of

ROOT = Path(__file__).parents[1]
ELSEWHERE = ("CONTRIBUTING.md", "CHANGELOG.md", "figures/README.md")
# What figures/README.md and pages show or offer; not the PDFs, which say the same again.
BESIDE = ("figures/**/*.png", "figures/**/*.csv", "figures/**/*.json")
PATHS = ("", "docs/", "figures/")  # where links of the root's own lead to, that the site has

# Quantizers have no docstrings of their own.
KIND_IS = {
    "asymm": "2^b levels at equal distances, from the smallest to the largest weight",
    "symm": "2^b - 1 levels at equal distances, zero in their middle; 2 bits: -1, 0, 1",
    "pow2": "zero, and both ends of the range halved again and again",
    "levels": "a list of levels of your own: `levels:-1:-0.3:0.3:1` or `levels:FILE`",
}


def _first(text: str | None) -> str:
    return (text or "").strip().partition("\n\n")[0].replace("\n", " ")


def _table(head: tuple[str, ...], rows: list[tuple]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    cells = (" | ".join(str(cell).replace("|", "\\|") for cell in line) for line in lines)
    return "\n".join(f"| {line} |" for line in cells) + "\n"


def _shown(thing, **options) -> str:
    """What mkdocstrings makes of a class or function."""
    told = "".join(f"\n        {name}: {value}" for name, value in options.items())
    return f"::: {thing.__module__}.{thing.__qualname__}\n" + (told and f"    options:{told}\n")


def _algorithms() -> dict[str, str]:
    pages, rows = {}, []
    for word, rule in ALGORITHMS.items():
        inner = rule.func if isinstance(rule, partial) else rule
        what = _first(inner.__doc__)
        own = ""
        if isinstance(rule, partial):
            given = ", ".join(f"{name}={value!r}" for name, value in rule.keywords.items())
            own = f"`{word}` is `{inner.__name__}` with `{given}`.\n\n"
        module = _first(importlib.import_module(inner.__module__).__doc__)
        pages[f"algorithms/{word}.md"] = (
            f"# {word}\n\n{module}\n\n{own}On the command line: `--algorithm {word}`. In Python: "
            f"`qjax.algorithms.ALGORITHMS[\"{word}\"]`.\n\n{_shown(inner)}")
        rows.append((f"[{word}]({word}.md)", what + (f" With `{given}`." if own else "")))
    pages["algorithms/index.md"] = "# Algorithms\n\n" + _table(("`--algorithm`", "source"), rows)
    return pages


def _memories() -> dict[str, str]:
    pages, rows = {}, []
    for word, entry in MEMORIES.items():
        memory, kind = named(word), entry if isinstance(entry, type) else type(entry)
        is_device = isinstance(memory, Pulsed)
        numbers = [(f"`{name}`", told.help, "none" if told.default is None else f"{told.default:g}",
                    told.expected) for name, told in numbers_of(memory).items()]
        table = _table(("number", "what it is, with its unit", "default", "may be"), numbers)
        first = numbers[0][0].strip("`") if numbers else ""
        source = PRESETS[word].source + "\n\n" if word in PRESETS else ""
        page = f"Its steps, spread and picture: [{word}](../../devices/{word}.md).\n\n"
        pages[f"memories/{word}.md"] = (
            f"# {word}\n\n"
            + (f"{about(word)[0].upper()}{about(word)[1:]}.\n\n{source}{page}" if is_device else "")
            + f"On the command line: `--memory {word}`"
            + (f", its numbers by `--set {first}=VALUE`.\n\n## Numbers\n\n{table}\n" if numbers
               else ".\n\n") + ("" if is_device else _shown(kind))
            + (f"In Python: `qjax.memories.named(\"{word}\")`, a [Pulsed](../library/qjax.memories."
               f"pulsed.md) of a `{type(memory.device).__name__}`.\n" if is_device else ""))
        rows.append((f"[{word}]({word}.md)", about(word), len(numbers)))
    note = ("A name may say what is inside: `tiki_taka:reram_es`; how pulses are counted: "
            "`soft_bounds:whole`; the steps of a table: `piecewise_step:1,0.8,0.3:1,0.5`. All "
            "devices side by side: [devices](../../devices/README.md).\n\n")
    pages["memories/index.md"] = "# Memories\n\n" + note + _table(
        ("`--memory`", "what it is", "numbers"), rows)
    return pages


def _quantizers() -> dict[str, str]:
    pages, rows = {}, []
    for word, kind in KINDS.items():
        if isinstance(kind, Kind):
            most, range_ = kind.most, "[-m, m], m the largest magnitude" if kind.symmetric else (
                "from the smallest to the largest weight")
            told = _table(("what", "is"), [
                ("bits", f"{kind.least} to {most}"), ("range, under `--scope local`", range_),
                ("range, under `--scope global`", "[-1, 1]")]) + "\n" + _shown(type(kind.spacing))
            bits = f"{kind.least} to {most}"
        else:
            told, bits = _shown(kind), "as many as its levels need"
        pages[f"quantizers/{word}.md"] = (
            f"# {word}\n\n{KIND_IS.get(word, word)}.\n\nOn the command line: `--quantizer {word}`. "
            f"In Python: `qjax.quantize.make_quantizer(bits, \"{word}\", scope)`.\n\n{told}")
        rows.append((f"[{word}]({word}.md)", KIND_IS.get(word, ""), bits))
    pages["quantizers/index.md"] = "# Quantizers\n\n" + _table(
        ("`--quantizer`", "levels", "bits"), rows)
    return pages


def _commands() -> dict[str, str]:
    pages, rows = {}, []
    found = [m.name for m in pkgutil.iter_modules(experiments.__path__)]
    for name in sorted(found):
        try:
            module = importlib.import_module(f"experiments.{name}.__main__")
        except ImportError:
            module = importlib.import_module(f"experiments.{name}")
        main = getattr(module, "main", None)
        if main is None or name in ("sweep",):
            continue
        with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.suppress(SystemExit):
            main(["--help"])
        # A choice of thirty words is said again in the text: once will do.
        text = re.sub(r"\{([^{}\n]{60,})\}", lambda m: "{" + m[1][:44].rpartition(",")[0]
                      + ",...}", told.getvalue())
        pages[f"commands/{name}.md"] = (
            f"# {name}\n\n{_first(module.__doc__)}\n\n```text\n$ python -m experiments.{name} "
            f"--help\n{text}```\n")
        rows.append((f"[{name}]({name}.md)", _first(module.__doc__)))
    pages["commands/index.md"] = (
        "# Commands\n\nEach is run from a clone, as `python -m experiments.NAME`.\n\n"
        + _table(("command", "what it does"), rows))
    return pages


def _library() -> dict[str, str]:
    pages, rows = {}, []
    for found in pkgutil.walk_packages(qjax.__path__, "qjax."):
        module = importlib.import_module(found.name)
        own, others = [], []
        for name in getattr(module, "__all__", ()):
            home = getattr(getattr(module, name), "__module__", None)
            if home == found.name or home is None:
                own.append(f"::: {found.name}.{name}\n")
            elif home.startswith("qjax."):  # it is on the page of where it comes from
                others.append(f"[{name}]({home}.md)")
        parts = [f"# {found.name}\n\n{inspect.cleandoc(module.__doc__ or '')}\n"]
        if others:
            parts.append(f"From elsewhere: {', '.join(others)}.\n")
        parts += own
        pages[f"library/{found.name}.md"] = "\n".join(parts) + "\n"
        rows.append((f"[{found.name}]({found.name}.md)", _first(module.__doc__)))
    pages["library/index.md"] = ("# Library\n\n" + inspect.cleandoc(qjax.__doc__) + "\n\n"
                                 + _table(("module", "what it holds"), rows))
    return pages


@cache
def _pages() -> dict[str, str]:
    """Path below reference/ -> Markdown."""
    return _algorithms() | _memories() | _quantizers() | _commands() | _library()


def on_config(config):
    """Enters the reference into the navigation, each part under its index."""
    parts: dict[str, list] = {}
    for path in sorted(_pages(), key=lambda path: not path.endswith("index.md")):
        parts.setdefault(path.partition("/")[0], []).append(f"reference/{path}")
    config.nav.append({"Reference": [{part.capitalize(): pages} for part, pages in parts.items()]})
    return config


def on_files(files, config):
    """Adds the reference, and what is elsewhere in the repository."""
    for path, text in _pages().items():
        files.append(File.generated(config, f"reference/{path}", content=text))
    for path in (*ELSEWHERE, *(str(found.relative_to(ROOT)) for pattern in BESIDE
                               for found in sorted(ROOT.glob(pattern)))):
        files.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links between docs/ and the root, as a code host follows them, into the site's."""
    path = page.file.src_uri
    if path == "figures/README.md":  # several pages in one: a title above theirs
        parts = re.split(r"(^```.*?^```)", markdown, flags=re.M | re.S)
        parts[::2] = [re.sub("^#", "##", part, flags=re.M) for part in parts[::2]]
        markdown = "# Studies\n\n" + "".join(parts)
    if path in ELSEWHERE:
        return re.sub(r"\]\(((?:\.\./)*)docs/", r"](\1", markdown)
    up = "../" * (path.count("/") + 1)
    return markdown.replace(f"]({up}", f"]({up.removesuffix('../')}")
