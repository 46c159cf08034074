"""Tests the thesis's five claims with our replicas and writes the verdicts as Markdown.

Of our results only those with the thesis's settings count; where a cell was trained for several
numbers of epochs, the longest - or, in a pair, the longest that both cells were trained for.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments import commandline
from experiments.commandline import options
from experiments.store import results
from experiments.studies.thesis import MARKERS, render, spliced, trained

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = options.Parser(prog="experiments.verdicts", description=__doc__)
    p.add_argument("--results", type=Path, nargs="+", default=[Path("figures/thesis.csv")],
                   metavar="PATH", help="result folders, .sqlite files or exported CSV files; a "
                   "later one's replicas replace an earlier one's [figures/thesis.csv]")
    p.add_argument("--into", type=Path, metavar="FILE.md",
                   help=f"Markdown file: replace what stands between its lines {MARKERS[0]} and "
                   f"{MARKERS[1]}")
    args = p.parse_args(arguments)
    try:
        rows = results.merge(args.results)
    except results.ResultsError as error:
        p.error(str(error))
    if not trained(rows):
        p.error(f"none of the {len(rows)} finished replicas has the thesis's settings and an "
                "accuracy: train some with 'python -m experiments.thesis'")
    text = render(rows)
    if args.into:
        try:
            args.into.write_bytes(spliced(args.into.read_bytes(), text))
        except ValueError as error:
            p.error(f"{args.into}: {error}. Add them where the verdicts should stand")
        except FileNotFoundError:
            p.error(f"no file {args.into}: expected a Markdown file with the lines {MARKERS[0]} "
                    f"and {MARKERS[1]}")
        except OSError as error:
            p.error(f"cannot write {args.into}: {error.strerror}")
    print(text, end="")
    if args.into:
        print(f"\n{args.into}")
    return 0


if __name__ == "__main__":
    commandline.run(main)
