"""Flags out of TOML files: `--config FILE` of any training, and recipes that come with the package.

A key is a flag without its dashes, a value what would stand behind it: one, or a list of several.
A table holds what is different for one algorithm, as in

    lr = 0.06
    gain = 1.5
    n-bits = [2, 3, "float"]
    [fa]
    gain = 1.0

The command line wins over a file, a table over what stands above it.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "Config", "ConfigError", "given", "merged", "read", "recipe", "recipes", "tokens", "write",
]

_FOLDER = files("experiments") / "recipes"

# Flag without its dashes -> values as texts; none for a flag alone.
Given = Mapping[str, Sequence[str]]


class ConfigError(ValueError):
    """A file of flags cannot be used; the message says why."""


class Config(NamedTuple):
    """Flags.

    Attributes:
      flags: for all.
      tables: by algorithm, what is different there.
    """

    flags: dict[str, Sequence[str]]
    tables: dict[str, dict[str, Sequence[str]]]


def read(path: Path) -> Config:
    """Reads a TOML file. Raises ConfigError."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    tables = {key: value for key, value in found.items() if isinstance(value, dict)}
    plain = {key: value for key, value in found.items() if key not in tables}
    return Config(_flags(plain, path), {name: _flags(own, path) for name, own in tables.items()})


def _flags(found: Mapping[str, Any], path: Path) -> dict[str, Sequence[str]]:
    flags: dict[str, Sequence[str]] = {}
    for key, value in found.items():
        values = value if isinstance(value, list) else [value]
        if any(not isinstance(v, str | int | float) for v in values) or (
                len(values) > 1 and any(isinstance(v, bool) for v in values)):
            raise ConfigError(f"{path}: {key} = {value!r}: expected a number, a text, true or "
                              "false, or a list of numbers and texts")
        if value is not False:
            flags[key.replace("_", "-")] = [] if value is True else [str(v) for v in values]
    return flags


def tokens(flags: Given) -> list[str]:
    """Flags as they stand on a command line."""
    return [token for flag, values in flags.items() for token in ("--" + flag, *values)]


def given(arguments: Iterable[str]) -> dict[str, list[str]]:
    """A command line as flags: the last of each counts, as it does there."""
    flags: dict[str, list[str]] = {}
    own: list[str] = []
    for token in arguments:
        if token.startswith("--"):
            name, equals, value = token[2:].partition("=")
            own = flags[name] = [value] if equals else []
        else:
            own.append(token)
    return flags


def merged(*configs: Config) -> Config:
    """Of several the last word on everything; what a later one says of all holds in no table."""
    whole = Config({}, {})
    for config in configs:
        kept = {name: {flag: values for flag, values in own.items() if flag not in config.flags}
                for name, own in whole.tables.items()}
        tables = {name: kept.get(name, {}) | config.tables.get(name, {})
                  for name in (*kept, *config.tables)}
        whole = Config(whole.flags | config.flags, tables)
    return whole


def write(config: Config, path: Path, comment: str) -> None:
    """Writes a file that `read` reads."""
    lines = [f"# {comment}", *_lines(config.flags)]
    for name, own in config.tables.items():
        if own:
            lines += ["", f"[{name}]", *_lines(own)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _lines(flags: Given) -> list[str]:
    def written(text: str) -> str:
        return text if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", text) else json.dumps(text)

    found = []
    for flag, values in flags.items():
        texts = [written(value) for value in values]
        entry = "true" if not texts else texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
        found.append(f"{flag} = {entry}")
    return found


def recipes() -> list[str]:
    """Names of the recipes that there are."""
    return sorted(file.name.removesuffix(".toml") for file in _FOLDER.iterdir()
                  if file.name.endswith(".toml"))


def recipe(name: str) -> Path:
    """The file of a recipe."""
    return Path(str(_FOLDER / f"{name}.toml"))
