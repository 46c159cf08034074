"""How the programs are called: flags and the values they take, and the terminal they write to.

`run` brings a program to its exit code, `require` ends one that lacks a package; argument types are
in the module `options`, flags out of files in `config`,
names of things in Python modules in `names`.
"""

from experiments.commandline import config, names, options
from experiments.commandline.terminal import require, run

__all__ = ["config", "names", "options", "require", "run"]
