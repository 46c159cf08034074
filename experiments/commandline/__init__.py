"""How the programs are called: flags and the values they take, and the terminal they write to.

`run` brings a program to its exit code, `require` ends one that lacks a package; argument types are
in the module `options`, flags out of files in `config`.
"""

from experiments.commandline import config, options
from experiments.commandline.terminal import require, run

__all__ = ["config", "options", "require", "run"]
