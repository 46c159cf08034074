"""All figures of some results, one after the other, each with a name for its file."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.report import figures, panels
from experiments.report.formats import in_file
from experiments.report.panels import Rows, split
from experiments.report.scores import scored
from experiments.report.study import NO_STUDY, Study
from experiments.store import history_of, results

__all__ = ["FIGURES", "drawn", "left_out"]

FIGURES = ("overview", "bits", "epochs", "ranges", "diagnostics")
_MOST = 24  # settings of a network, each with panels or a figure of its own
_DEVIATION = "; bands: ±1 standard deviation"
# Drawn from the store's tables of these names.
_PER_BLOCK = {"ranges": figures.plot_ranges, "diagnostics": figures.plot_diagnostics}


def drawn(
    rows: Rows,
    sources: Sequence[Path],
    study: Study = NO_STUDY,
    kinds: Iterable[str] = FIGURES,
) -> Iterator[tuple[str, Figure]]:
    """All figures of finished replicas, each with the stem of its file's name.

    Args:
      rows: replicas.
      sources: where they come from, for what happened along the training.
      study: whose order they have, and whose published values are marked.
      kinds: which of `FIGURES`.
    """
    # In this order: a cell whose longest training left no accuracy has none.
    accurate = [r for r in panels.longest(rows) if r["test_accuracy"] is not None]
    by_bits = [r for r in accurate if not panels.is_device(r)]
    drawable = any(r["n_bits"] is not None for r in by_bits)
    few = [r for members in _networks(rows) if len(panels.variants(members, study)) <= _MOST
           for r in members]
    called = panels.datasets(rows)
    for kind in kinds:
        if kind == "overview" and drawable:
            for (dataset,), members in split(by_bits, "dataset").items():
                whole = all(map(study.has, results.by_cell(members)))
                trained = f"{study.name}'s number of epochs unless noted" if whole else (
                    panels.trained(members, study))
                what = scored(members).title("Test accuracy")
                title = (f"{what} on {called[dataset]}, {panels.seeds_of(members)}; {trained}"
                         f"{_DEVIATION}")
                yield f"overview-{called[dataset]}", figures.plot_overview(members, title, study)
        elif kind == "bits" and drawable:
            for network, name, members in _variants(by_bits, study):
                if any(r["n_bits"] is not None for r in members):
                    title = (f"{name}, {panels.layers_of(*network)}, {_about(members, study)}"
                             f"{_DEVIATION}")
                    stem = "-".join(("bits", in_file(name), panels.stem_of(*network)))
                    yield stem, figures.plot_bits(members, title, study)
        elif kind == "epochs":
            for key, members in split(few, "dataset", *panels.NETWORK).items():
                epochs = history_of(sources, "epochs", {r["id"] for r in members})
                if epochs:
                    title = ", ".join((called[key[0]], panels.layers_of(*key[1:]),
                                       _about(members, study)))
                    stem = "-".join(("epochs", called[key[0]], panels.stem_of(*key[1:])))
                    yield stem, figures.plot_epochs(members, epochs, title, study)
        elif kind in _PER_BLOCK:
            for (dataset,), here in split(few, "dataset").items():
                for network, name, members in _variants(here, study):
                    history = history_of(sources, kind, {r["id"] for r in members})
                    if history:
                        title = (f"{name}, {called[dataset]}, {panels.layers_of(*network)}, "
                                 f"{_about(members, study)}; bands: extent over seeds")
                        stem = "-".join((kind, in_file(name), called[dataset],
                                         panels.stem_of(*network)))
                        yield stem, _PER_BLOCK[kind](members, history, title)


def _variants(
    rows: Rows, study: Study
) -> Iterator[tuple[tuple, str, list]]:
    for name, variant in panels.variants(rows, study).items():
        for network, members in split(variant, *panels.NETWORK).items():
            yield network, name, members


def left_out(rows: Rows, kinds: Iterable[str] = FIGURES) -> list[str]:
    """What the figures of some kinds do not show, in words."""
    kept, kinds = panels.longest(rows), set(kinds)
    said = panels.left_out(rows)
    if kinds & {"overview", "bits"}:
        devices = sum(map(panels.is_device, kept))
        blank = sum(r["test_accuracy"] is None for r in kept)
        said += [f"{count} replicas {what}, in overview and bits" for count, what in (
            (devices, "of memories without levels, which have no number of bits"),
            (blank, "without an accuracy")) if count]
    crowded = max((len(panels.variants(members)) for members in _networks(rows)), default=0)
    if crowded > _MOST and kinds - {"overview", "bits"}:
        said.append(f"curves of networks with {crowded} settings, more than {_MOST}: choose some "
                    "with --where, or say what is along x, such as --x epoch --hue lr")
    return said


def _networks(rows: Rows) -> Iterable[Rows]:
    return split(rows, "dataset", *panels.NETWORK).values()


def _about(rows: Rows, study: Study) -> str:
    # The unquantized networks are in several variants.
    variants = panels.variants(rows, study)
    members = list({r["id"]: r for variant in variants.values() for r in variant}.values())
    return f"{panels.trained(members, study)}, {panels.seeds_of(members)}"
