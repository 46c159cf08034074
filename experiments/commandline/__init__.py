"""How the programs are called: flags and the values they take, and the terminal they write to.

`run` brings a program to its exit code, `require` ends one that lacks a package; argument types are
in the module `options`.
"""

from experiments.commandline import options
from experiments.commandline.terminal import require, run

__all__ = ["options", "require", "run"]
