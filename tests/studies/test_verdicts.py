"""The thesis's claims: pairing, each claim made to hold, to fail and to be mixed, the command."""

from dataclasses import replace

import pytest
from examples import MNIST, MNIST_FLOAT, csv_of, row

from experiments import verdicts as command
from experiments.cells import preset_of
from experiments.studies.thesis import MARKERS, trained, verdicts
from experiments.studies.thesis.pairs import pairs_of

LOCAL = {"scope": "local"}
GLOBAL = {"scope": "global"}
SYMM = {"quantizer": "symm"}
ASYMM = {"quantizer": "asymm"}
SMALL = {"n_layers": 1, "hidden_width": 50}
WIDE = {"n_layers": 1, "hidden_width": 100}
DEEP = {"n_layers": 2, "hidden_width": 50}


def rows_of(accuracies, base=MNIST, **fields):
    """Replicas of a cell, seeds from 0."""
    if base is MNIST_FLOAT:
        fields = {"epochs": 10} | fields
    cell = replace(base, **fields)
    if cell.algorithm == "hsic":
        first = preset_of("hsic").phases[0]
        cell = replace(cell, optimizer=first.optimizer, gamma=first.gamma, epochs=30,
                       weight_decay=first.weight_decay, readout_epochs=20,
                       batch_size=64 if cell.n_bits else 128)
    return [row(cell, seed, a) for seed, a in enumerate(accuracies)]


def differences(values, ours, theirs, algorithm="backprop", at=50.0):
    """Pairs of cells of one seed, one for every difference, at different numbers of bits."""
    return [r for bits, value in enumerate(values, 2)
            for r in (*rows_of([at + value], n_bits=bits, algorithm=algorithm, **ours),
                      *rows_of([at], n_bits=bits, algorithm=algorithm, **theirs))]


def scopes(rows):
    return verdicts.contrast(trained(rows), "scope", "local", "global", "Local wins")


def one_pair(ours, theirs):
    pairs = pairs_of(trained(ours + theirs), LOCAL, GLOBAL)
    assert len(pairs) <= 1
    return pairs[0] if pairs else None


# Pairs


def test_a_pair_is_of_common_seeds_only():
    ours, theirs = rows_of([50.0, 52.0, 90.0], **LOCAL), rows_of([40.0, 42.0], **GLOBAL)
    found = one_pair(ours, theirs)
    assert (found.mean, found.differs) == (10.0, True)
    # Seeds 1 and 2 against 0 and 1: only seed 1 is common, whatever the others have.
    assert one_pair(ours[1:], theirs).mean == 10.0
    assert one_pair(ours[2:], theirs) is None
    # Seeds are told apart by their number, not by their place.
    assert one_pair(ours[:2], theirs[::-1]).mean == 10.0


def test_replicas_without_an_accuracy_are_left_out_and_diverged_ones_count():
    ours = rows_of([50.0, None, 70.0], **LOCAL)
    ours[2]["status"] = ours[1]["status"] = "diverged"
    cells = trained(ours + rows_of([40.0, 0.0, 40.0], **GLOBAL))
    assert {c.mean for c in cells.values()} == {60.0, 80 / 3}
    (found,) = pairs_of(cells, LOCAL, GLOBAL)
    assert found.mean == 20.0
    assert trained(rows_of([None, None])) == {}


@pytest.mark.parametrize(
    ("seeds", "differs"),
    [
        ([3.0], False), ([3.1], True), ([-3.1], True), ([1.5], False),
        ([1.0, 1.0], False), ([1.1, 1.1], True), ([-1.1, -1.1], True),
        # Mean 5, half width t_1 s / sqrt(2) = 12.706 d / 2, d the distance of the two.
        ([4.7, 5.3], True), ([4.5, 5.5], False),
        # Mean 5, half width t_2 s / sqrt(3) = 4.303 s / 1.732, s = 2: 4.97; s = 2.1: 5.22.
        ([3.0, 5.0, 7.0], True), ([2.9, 5.0, 7.1], False),
    ],
)
def test_when_a_pair_differs(seeds, differs):
    ours = rows_of([50 + s for s in seeds], **LOCAL)
    found = one_pair(ours, rows_of([50.0] * len(seeds), **GLOBAL))
    assert found.differs is differs
    assert found.mean == pytest.approx(sum(seeds) / len(seeds))


def test_pairs_share_all_else():
    ours = rows_of([50.0], **LOCAL)
    other = [{"n_bits": 5}, ASYMM, {"algorithm": "fa"}, {"dataset": "digits"}, WIDE]
    for change in other:
        assert one_pair(ours, rows_of([40.0], **GLOBAL | change)) is None
    # Cells with other epochs make no pair: the longer one has an advantage of its own.
    assert one_pair(ours, rows_of([40.0], **GLOBAL, epochs=5)) is None
    assert one_pair(ours, rows_of([40.0], **GLOBAL)).mean == 10.0


def test_a_pair_is_of_the_longest_training_that_both_have():
    ours = [r for epochs, accuracy in ((2, 30.0), (5, 50.0), (30, 90.0))
            for r in rows_of([accuracy], **LOCAL, epochs=epochs)]
    theirs = rows_of([25.0], **GLOBAL, epochs=2) + rows_of([44.0], **GLOBAL, epochs=5)
    assert one_pair(ours, theirs).mean == 6.0
    assert one_pair(ours, theirs[:1]).mean == 5.0
    # Without a common seed at 5 epochs those of 2 count.
    theirs[1]["seed"] = 1
    assert one_pair(ours, theirs).mean == 5.0
    # A network that learns only when trained for longer does not learn in this pair.
    poor = rows_of([15.0], **LOCAL, epochs=2), rows_of([12.0], **GLOBAL, epochs=2)
    assert one_pair(poor[0] + ours[1:], poor[1]).learns is False
    # Where the longest training left no accuracy the cell has none.
    assert one_pair(ours + rows_of([None], **LOCAL, epochs=31), theirs) is None


def test_other_settings_than_the_thesis_are_left_out():
    rows = rows_of([50.0], **LOCAL) + rows_of([40.0], **GLOBAL, update="latent")
    assert scopes(rows).word == "not tested"
    dni = [rows_of([1.0], algorithm="dni", gradient_bits=g) for g in (None, 8)]
    (only,) = trained(dni[0] + dni[1]).values()
    assert only.members == dni[0]
    assert trained(dni[1]) == {}


# Claims 1 and 2


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([4.0, 4.0, -4.0], "holds"),  # 2 of 3
        ([4.0, 4.0, -9.0], "mixed"),  # 2 of 3, but the mean is negative
        ([4.0, 4.0, 4.0, -4.0, -4.0], "mixed"),  # 3 of 5
        ([9.0, -4.0], "mixed"),
        ([-4.0, -4.0, 4.0], "fails"),  # 1 of 3
        ([-4.0, -4.0, 9.0], "mixed"),  # 1 of 3, but the mean is positive
        # Pairs that do not differ count for the mean alone.
        ([4.0, -3.0, -3.0], "mixed"),
        ([4.0, 4.0, -3.0, -3.0, -1.0], "holds"),
        ([3.0, -2.0], "no difference"),
        ([], "not tested"),
    ],
)
def test_contrasts(values, word):
    rows = differences(values, LOCAL, GLOBAL) or rows_of([50.0])
    assert scopes(rows).word == word


def test_contrasts_are_by_algorithm_and_of_all():
    rows = (differences([5.0, 7.0, 1.0], LOCAL, GLOBAL)
            + differences([-5.0], LOCAL, GLOBAL, "fa") + rows_of([50.0], algorithm="dni"))
    verdict = scopes(rows)
    assert verdict.table.rows == (
        ("backprop", 3, pytest.approx(13 / 3), 2, 0, "holds"), ("fa", 1, -5.0, 0, 1, "fails"),
        ("dni", 0, None, 0, 0, "not tested"), ("all", 4, 2.0, 2, 1, "holds"),
    )
    assert "Of 4 pairs of cells that differ only in scope" in verdict.sentence
    assert "3 differ" in verdict.sentence
    assert "local is better in 2, global in 1;" in verdict.sentence
    assert "mean difference of all pairs is +2.00 points" in verdict.sentence


def test_pairs_that_only_guess_do_not_count():
    rows = differences([5.0, 5.0], LOCAL, GLOBAL) + differences([-5.0], LOCAL, GLOBAL, "fa", 15.0)
    sentence = scopes(rows).sentence
    assert "Of 2 pairs" in sentence
    assert "local is better in 2, global in 0" in sentence


def test_the_quantizers_are_compared_within_a_scope():
    rows = (differences([4.0, 4.0], SYMM | LOCAL, ASYMM | LOCAL)
            + differences([4.0], SYMM | GLOBAL, ASYMM | GLOBAL))
    verdict = verdicts.verdicts_of(trained(rows))[1]
    assert (verdict.word, verdict.table.rows[-1][1:3]) == ("holds", (3, 4.0))
    swapped = differences([4.0, 4.0], ASYMM | LOCAL, SYMM | LOCAL)
    assert verdicts.verdicts_of(trained(swapped))[1].word == "fails"
    across = rows_of([60.0], **SYMM | LOCAL) + rows_of([50.0], **ASYMM | GLOBAL)
    assert verdicts.verdicts_of(trained(across))[1].word == "not tested"


# Claim 3


def networks(small, wide, deep, base=MNIST, **fields):
    return [r for accuracy, shape in ((small, SMALL), (wide, WIDE), (deep, DEEP))
            for r in rows_of([accuracy], base, **shape, **fields)]


def widths(rows):
    return verdicts.width_and_depth(trained(rows))


@pytest.mark.parametrize(
    ("wide", "deep", "word"),
    [(53.0, 51.0, "holds"), (51.0, 40.0, "holds"), (51.0, 53.0, "fails"), (45.0, 47.0, "fails"),
     (48.0, 47.0, "mixed"), (51.0, 51.0, "mixed")],
)
def test_width_and_depth(wide, deep, word):
    assert widths(networks(50.0, wide, deep)).word == word


def test_width_and_depth_by_hand():
    rows = (networks(90.0, 94.0, 89.0, MNIST_FLOAT) + networks(50.0, 52.0, 49.0, n_bits=7)
            + networks(30.0, 33.0, 31.0, n_bits=4) + rows_of([60.0], n_layers=2, n_bits=7,
                                                             hidden_width=100))
    verdict = widths(rows)
    assert verdict.table.rows == (
        ("float networks", 1, 4.0, 1, -1.0),
        # Width: 52 - 50, 60 - 49; depth: 49 - 50, 60 - 52.
        ("7-8 bits", 2, 6.5, 2, 3.5),
        ("all cells", 4, 5.0, 4, pytest.approx(7 / 4)),
    )
    assert verdict.word == "holds"
    assert "+5.00 points from width and +1.75 from depth in all cells" in verdict.sentence
    assert "+4.00 points from width and -1.00 from depth in float networks" in verdict.sentence
    assert verdict.table.notes == (
        "Width: (1,50) to (1,100), (2,50) to (2,100). Depth: (1,100) to (2,100), (1,50) to "
        "(2,50).",
    )


def test_width_is_mixed_where_float_networks_disagree():
    quantized = [r for bits in (2, 3) for r in networks(50.0, 55.0, 49.0, n_bits=bits)]
    assert widths(quantized).word == "holds"
    assert widths(quantized + networks(90.0, 91.0, 92.0, MNIST_FLOAT)).word == "mixed"
    assert widths(quantized + networks(90.0, 92.0, 91.0, MNIST_FLOAT)).word == "holds"


def test_width_counts_networks_that_learn():
    # At 20 % neither learns; one that does is enough for its pair.
    rows = networks(15.0, 20.0, 20.1)
    assert widths(rows).table.rows[-1] == ("all cells", 0, None, 1, pytest.approx(5.1))
    assert widths(rows).word == "not tested"
    assert widths(networks(15.0, 20.1, 20.1)).table.rows[-1][1::2] == (1, 1)


def test_other_shapes_than_the_thesis_make_no_pair_of_widths():
    rows = rows_of([50.0], **SMALL) + rows_of([60.0], n_layers=1, hidden_width=60)
    assert widths(rows).table.rows[-1][1] == 0


# Claim 4


def robust(rows):
    return verdicts.robustness(trained(rows))


def floats(**accuracies):
    return [r for a, v in accuracies.items() for r in rows_of([v], MNIST_FLOAT, algorithm=a)]


def quantized(algorithm, *accuracies, **fields):
    return [r for bits, v in enumerate(accuracies, 2)
            for r in rows_of([v], n_bits=bits, algorithm=algorithm, **fields)]


@pytest.mark.parametrize(
    ("backprop", "fa", "word"),
    [(53.0, 10.0, "holds"), (51.0, 10.0, "mixed"), (50.0, 50.0, "mixed"), (47.0, 47.0, "fails"),
     (49.0, 10.0, "mixed")],
)
def test_robustness(backprop, fa, word):
    # Float 90: a point of accuracy is 1/80 = 0.0125 of robustness.
    rows = (floats(backprop=90.0, fa=90.0, hsic=90.0) + quantized("backprop", backprop)
            + quantized("fa", fa) + quantized("hsic", 50.0))
    assert robust(rows).word == word


def test_robustness_is_clipped_and_relative_to_the_own_float_network():
    rows = (floats(backprop=90.0, hsic=60.0)
            # 99 counts as 1, 2 as 0; 50 of 90 is 0.5, 20 of hsic's 60 is 0.2. Bits 2 to 4.
            + quantized("backprop", 99.0, 2.0, 50.0) + quantized("hsic", 20.0, 20.0, 60.0))
    verdict = robust(rows)
    assert verdict.table.rows == (
        ("backprop", 3, pytest.approx(0.5), pytest.approx(1.4 / 3), pytest.approx(0.1 / 3)),
    )
    assert "robustness is 0.500, hsic's 0.467, a difference of +0.033" in verdict.sentence
    assert verdict.word == "holds"


def test_robustness_is_of_common_cells():
    rows = (floats(backprop=90.0, hsic=90.0) + quantized("backprop", 50.0, 90.0)
            + quantized("hsic", 50.0) + quantized("hsic", 90.0, 90.0, **GLOBAL))
    assert robust(rows).table.rows == (("backprop", 1, 0.5, 0.5, 0.0),)


@pytest.mark.parametrize("who", ["backprop", "hsic"])
@pytest.mark.parametrize(("accuracy", "count"), [(50.0, 1), (49.9, 0), (None, 0)])
def test_robustness_needs_a_good_float_network(who, accuracy, count):
    both = {"backprop": 90.0, "hsic": 90.0} | {who: accuracy}
    verdict = robust(floats(**both) + quantized("backprop", 50.0) + quantized("hsic", 50.0))
    assert verdict.table.rows[0][1] == count
    if not count:
        assert verdict.word == "not tested"
        assert verdict.table.rows == (("backprop", 0, None, None, None),)


# Claim 5


def training(rows):
    return verdicts.smallest_bits(trained(rows))


def at_bits(**accuracies):
    """Quantized networks: `global_7=85.0` and so on."""
    rows = []
    for name, accuracy in accuracies.items():
        scope, bits = name.split("_")
        rows += rows_of([accuracy], n_bits=int(bits), scope=scope)
    return rows


@pytest.mark.parametrize(
    ("accuracies", "word"),
    [
        ({"global_6": 79.9, "global_7": 80.0, "local_4": 79.9, "local_5": 80.0}, "holds"),
        ({"global_6": 80.0, "local_4": 80.0}, "fails"),
        ({"global_6": 80.0, "local_4": 79.9}, "mixed"),
        ({"global_6": 79.9, "local_4": 80.0}, "mixed"),
        ({"global_2": 10.0, "local_2": 10.0}, "holds"),
        # A narrower network trains, whatever the wider ones do.
        ({"global_2": 90.0, "global_6": 10.0, "global_8": 90.0, "local_2": 90.0}, "fails"),
        # Only cells below the claimed widths can contradict.
        ({"global_7": 90.0, "local_4": 10.0}, "not tested"),
        ({"global_6": 10.0, "local_5": 90.0}, "not tested"),
        ({"global_6": 10.0}, "not tested"),
    ],
)
def test_training_widths(accuracies, word):
    assert training(floats(backprop=90.0) + at_bits(**accuracies)).word == word


def test_training_widths_by_hand():
    rows = floats(backprop=90.0) + rows_of([70.0], n_bits=8, **GLOBAL, **ASYMM)
    rows += at_bits(global_6=20.0, global_8=85.0, local_4=30.0, local_6=81.0)
    verdict = training(rows)
    label = "backprop mnist (1,50) {} bits symm {}".format
    assert verdict.table.rows == (
        ("global", 6, 1, 0, 20.0, label(6, "global")),
        ("global", 8, 2, 1, 85.0, label(8, "global")),
        ("local", 4, 1, 0, 30.0, label(4, "local")),
        ("local", 6, 1, 1, 81.0, label(6, "local")),
    )
    assert "global 8 (claimed: at least 7), local 6 (claimed: at least 5)." in verdict.sentence
    none = training(floats(backprop=90.0) + at_bits(global_6=20.0, local_5=90.0)).sentence
    assert "global none up to 8 (claimed: at least 7), local not tested (" in none


@pytest.mark.parametrize(("accuracy", "trains"), [(50.0, 1), (49.9, 0)])
def test_training_needs_a_good_float_network(accuracy, trains):
    verdict = training(floats(backprop=accuracy) + at_bits(local_4=49.0))
    assert [r[2:4] for r in verdict.table.rows] == [(1, trains)]


def test_cells_without_a_float_network_are_left_out():
    assert training(at_bits(local_4=90.0, global_4=90.0)).table.rows == ()
    assert training(floats(fa=90.0) + at_bits(local_4=90.0)).word == "not tested"


# Notes and the command


def test_notes_say_what_is_short_and_missing():
    rows = rows_of([50.0, 60.0], **LOCAL) + rows_of([50.0, 60.0], **GLOBAL)
    (only,) = verdicts.notes_on(rows)
    assert "2 cells with the thesis's settings, 0 of them float networks" in only
    assert "seeds per cell: 2." in only
    rows += rows_of([50.0, None, 40.0, 30.0], **ASYMM, epochs=5) + floats(backprop=90.0)
    rows[5]["status"] = rows[6]["status"] = "diverged"
    notes = verdicts.notes_on(rows)
    assert "4 cells with the thesis's settings, 1 of them float" in notes[0]
    assert "seeds per cell: 1 to 3." in notes[0]
    assert notes[1:] == [
        "1 of the 4 cells are shortened: trained for fewer epochs than in the thesis.",
        "In a pair both cells were trained for equally many epochs, the most that both have been.",
        "1 replicas diverged and count with their last finite accuracy.",
        "1 replicas have no finite accuracy and are left out.",
    ]


ROWS = differences([4.0, 4.0, 1.0], LOCAL, GLOBAL) + floats(backprop=97.5)
HEADING = "### 1. Local ranges beat global ones: **holds**"


def run(*arguments):
    return command.main(list(map(str, arguments)))


@pytest.fixture
def ours(tmp_path):
    return csv_of(tmp_path / "ours.csv", ROWS)


def test_command_prints_markdown(ours, capsys):
    assert run("--results", ours) == 0
    out = capsys.readouterr().out
    headings = [line for line in out.splitlines() if line.startswith("#")]
    assert headings == [
        HEADING,
        "### 2. Symm beats asymm: **not tested**",
        "### 3. Width matters more than depth: **not tested**",
        "### 4. hsic is not the most robust: **not tested**",
        "### 5. Nothing trains below 7-8 bits (global) or 5-6 bits (local): **holds**",
    ]
    assert f"{HEADING}\n\nOf 3 pairs" in out
    assert "| all | 3 | 3.00 | 2 | 0 | holds |" in out
    assert out == verdicts.render(ROWS)


def test_into_replaces_what_stands_between_the_markers_alone(ours, tmp_path, capsys):
    before = b"# T\r\n \xff mixed\n<!-- verdicts --> in a line is none\n"
    after = f"{MARKERS[1]}\n\n\ttail without a newline {MARKERS[0]}".encode()
    file = tmp_path / "f.md"
    file.write_bytes(before + f"{MARKERS[0]}\nold\n".encode() + after)
    assert run("--results", ours, "--into", file) == 0
    written = file.read_bytes()
    text = verdicts.render(ROWS)
    assert written == before + f"{MARKERS[0]}\n\n{text}\n".encode() + after
    assert capsys.readouterr().out == f"{text}\n{file}\n"
    assert run("--results", ours, "--into", file) == 0
    assert file.read_bytes() == written


def test_into_keeps_the_ends_of_lines():
    content = "".join(f"{line}\r\n" for line in ("a", *MARKERS, "b")).encode()
    once = verdicts.spliced(content, "x\ny\n")
    assert once == f"a\r\n{MARKERS[0]}\r\n\r\nx\r\ny\r\n\r\n{MARKERS[1]}\r\nb\r\n".encode()
    assert verdicts.spliced(once, "x\ny\n") == once


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


@pytest.mark.parametrize(
    "lines", [(), MARKERS[:1], MARKERS[1:], MARKERS[::-1], MARKERS * 2, (*MARKERS, MARKERS[0])]
)
def test_into_needs_both_markers_once_and_in_order(ours, tmp_path, capsys, lines):
    file = tmp_path / "f.md"
    content = "".join(f"{line}\n" for line in lines)
    file.write_text(content)
    message = refused(capsys, "--results", ours, "--into", file)
    assert str(file) in message
    assert all(marker in message for marker in MARKERS)
    assert "Add them" in message
    assert file.read_text() == content


def test_command_refuses(ours, tmp_path, capsys):
    assert "no file" in refused(capsys, "--results", tmp_path / "no.csv")
    missing = refused(capsys, "--results", ours, "--into", tmp_path / "no.md")
    assert "no file" in missing
    assert MARKERS[0] in missing
    assert not (tmp_path / "no.md").exists()
    assert "cannot write" in refused(capsys, "--results", ours, "--into", tmp_path)
    other = csv_of(tmp_path / "other.csv", rows_of([50.0], update="latent"))
    assert "none of the 1 finished replicas has the thesis's settings" in refused(
        capsys, "--results", other)


def test_results_are_by_default_the_exported_study(tmp_path, monkeypatch, capsys):
    (tmp_path / "figures").mkdir()
    csv_of(tmp_path / "figures" / "thesis.csv", ROWS)
    monkeypatch.chdir(tmp_path)
    assert run() == 0
    assert HEADING in capsys.readouterr().out
