"""How figures look: colours, titles, legends, labels of axes."""

import itertools

import matplotlib.colors
import matplotlib.pyplot as plt
import pytest

from experiments.report import look
from qjax import algorithms


@pytest.mark.parametrize("largest", [0.7, 1.5, 3.0, 40.0, 1e6])
def test_range_axes_are_labelled_with_plain_numbers(largest):
    figure, axis = plt.subplots()
    axis.plot([1, 2], [-largest, largest])
    look.symmetric_log_scale(axis)
    figure.canvas.draw()
    texts = [t.get_text() for t in axis.get_yticklabels() if t.get_text()]
    assert len(texts) >= 3
    assert not any("times" in text or "$" in text for text in texts)
    boxes = sorted((t.get_window_extent() for t in axis.get_yticklabels() if t.get_text()),
                   key=lambda box: box.y0)
    assert all(a.y1 < b.y0 for a, b in itertools.pairwise(boxes))
    plt.close(figure)


def test_an_axis_without_a_finite_range_stays_as_it_is():
    figure, axis = plt.subplots()
    assert look.symmetric_log_scale(axis) is False
    assert axis.get_yscale() == "linear"
    plt.close(figure)


def test_algorithms_of_one_figure_never_share_a_colour_while_there_are_enough():
    every = list(algorithms.ALGORITHMS)
    usual = {name: look.algorithm_colors([name])[name] for name in every}
    for start in range(len(every)):
        some = (every + every)[start : start + 10]
        assert len(set(look.algorithm_colors(some).values())) == 10
    assert look.algorithm_colors(["fa", "backprop"]) == {n: usual[n] for n in ("fa", "backprop")}
    assert len(set(look.algorithm_colors(["mine:rule", "ours:rule", "fa"]).values())) == 3
    assert look.algorithm_colors(every).keys() == set(every)


def test_titles_break_between_items_and_legends_fit():
    figure, axis = plt.subplots(figsize=(4, 3))
    look.title(figure, "Test accuracy against lr: fa, mnist, n_bits 3, hidden_bits 12345, gain 1.5")
    assert "\n" in figure.get_suptitle()
    assert all(line.endswith((",", ":")) for line in figure.get_suptitle().splitlines()[:-1])
    look.title(figure, " ".join(["word"] * 40))  # one item that is too long for any line
    assert len(figure.get_suptitle().splitlines()) > 2
    axis.plot([0, 1], label="piecewise_step:" + ",".join(["0.125"] * 40))
    look.legend(figure)
    figure.canvas.draw()
    (text,) = figure.legends[0].get_texts()
    assert text.get_text().startswith("piecewise_step:0.125")
    assert text.get_text().endswith("0.125")
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    plt.close(figure)


@pytest.mark.parametrize("width", [3.0, 6.0, 12.0])
def test_titles_stay_inside_their_figure(width):
    figure = plt.figure(figsize=(width, 3), layout="constrained")
    look.title(figure, "Test accuracy on fashion_mnist, 1-3 seeds; " + "and more words " * 8)
    figure.canvas.draw()
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    plt.close(figure)


@pytest.mark.parametrize(("low", "high"), [
    (1.93, 2.1), (0.3, 2.3), (3.1, 9.5), (0.02, 5.0), (2e-3, 50.0), (1e-4, 1e3)])
def test_loss_axes_have_several_plain_numbers(low, high):
    figure, axis = plt.subplots()
    axis.plot([1, 2], [low, high])
    look.log_scale(axis)
    figure.canvas.draw()
    bottom, top = axis.get_ylim()
    labels = [*axis.get_yticklabels(), *axis.get_yticklabels(minor=True)]
    texts = [t.get_text() for t in labels if t.get_text() and bottom <= t.get_position()[1] <= top]
    assert len(texts) >= 3
    assert not any("times" in text or "$" in text for text in texts)
    plt.close(figure)


def test_colours_of_numbers_are_never_lost_on_white():
    for colors in (look.by_size(range(2, 9)), look.by_holder([2, 3, 8, "ecram", "float"])):
        assert len(set(colors.values())) == len(colors)
        for color in colors.values():
            red, green, blue = matplotlib.colors.to_rgb(color)
            assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.75
