"""Writes results as one HTML page that opens anywhere, or serves it while a sweep runs.

The plan and what of it is finished, a table of all configurations to order and filter, test
accuracy against any axis, learning curves at a click. Of a CSV file, NAME.csv, curves need
NAME-epochs.csv (or .csv.gz) beside it.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments import commandline
from experiments.commandline import options
from experiments.report import page, serving
from experiments.store import results, selection

__all__ = ["main"]

PORT = 8000


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    selection.meet(arguments)
    p = options.Parser(prog="experiments.report", description=__doc__)
    p.add_argument("--results", type=Path, nargs="+", default=[Path("results")], metavar="PATH",
                   help="result folders, .sqlite files or exported CSV files; a later one's "
                   "replicas replace an earlier one's [results]")
    p.add_argument("--out", type=Path, default=None, metavar="FILE.html",
                   help="file to write [report.html in the first results, or beside them, if that "
                   "is a file]")
    p.add_argument("--serve", type=options.whole(0, 65535), nargs="?", const=PORT, metavar="PORT",
                   help="write nothing: show the page at a port of this machine, and keep it "
                   f"current until Ctrl-C; 0 takes any port that is free [{PORT}]")
    selection.add_only(p)
    args = p.parse_args(arguments)
    if args.out and args.serve is not None:
        p.error("--out and --serve: the page is either written or served, leave one out")
    try:
        if args.serve is not None:
            return _serve(p, serving.Live(args.results, args.only), args.serve)
        text = page.page_of(args.results, args.only)
    except results.ResultsError as error:
        p.error(str(error))
    first = args.results[0]
    path = args.out or (first if first.is_dir() else first.parent) / "report.html"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        p.error(f"cannot write {path}: {error.strerror}. Choose another file with --out")
    print(path)
    return 0


def _serve(p: options.Parser, live: serving.Live, port: int) -> int:
    try:
        server = serving.server_of(live, port)
    except OSError as error:
        p.error(f"cannot serve at port {port}: {error.strerror}. Choose another with --serve PORT, "
                "or --serve 0 for any that is free")
    with server:
        print(f"http://{serving.HOST}:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    commandline.run(main)
