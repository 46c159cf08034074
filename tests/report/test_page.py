"""The page of results: what it is given, what a browser makes of it, and how it stays current."""

import contextlib
import html
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
from examples import CELL, FLOAT, ORIGIN, csv_of, epoch, fill, refused, row, rows_of, store_of

from experiments.cells import Replica, account_of
from experiments.report import __main__ as command
from experiments.report import page, serving
from experiments.store import Store, exporting, history_of, results

EVIL = 'tfds:</script><img src=x onerror="document.title=1">&amp;'
BITS = (2, 4, 8, 16)
CELLS = [*(replace(CELL, n_bits=n) for n in BITS), FLOAT, replace(CELL, dataset=EVIL)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of six cells with three seeds and four epochs; of one cell two are not finished."""
    path = store_of(tmp_path_factory.mktemp("page"), CELLS, epochs=4)
    with Store(path) as store:
        fill(store, Replica(CELL, 3), [epoch(Replica(CELL, 3), 0, accuracy=1.0)])
        store.claim([Replica(CELL, 4)], ORIGIN)
        store.fail([Replica(CELL, 4).id])
    return path


@pytest.fixture(scope="module")
def text(folder):
    return page.page_of([folder])


def data_in(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def lines_in(text):
    data = data_in(text)
    names = [column["name"] for column in data["columns"]]
    lines = [dict(zip(names, values, strict=True)) for values in data["rows"]]
    for key, line, deviation in zip(data["keys"], lines, data["deviations"], strict=True):
        line |= {"key": key, "deviation": deviation, "curve": data["curves"].get(key)}
    return lines


def shown(text):
    """The page's words, without its elements, scripts and styles."""
    text = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


# What the page is given


def test_numbers_are_the_stores(folder, text):
    cells = results.by_cell(r for r in rows_of(folder) if r["status"] == "done")
    lines = lines_in(text)
    assert len(lines) == len(cells) == len(CELLS)
    for line in lines:
        (cell, members), = ((c, m) for c, m in cells.items()
                            if line["key"] in {r["id"] for r in m})
        accuracies = [r["test_accuracy"] for r in members]
        assert line["test_accuracy"] == pytest.approx(statistics.fmean(accuracies), rel=1e-5)
        assert line["deviation"] == pytest.approx(statistics.stdev(accuracies), rel=1e-5)
        assert line["seeds"] == 3
        assert line["seconds"] == 2.5
        assert line["n_bits"] == (cell.n_bits or "float")
        bits = account_of(cell)
        known = (None, None) if bits is None else pytest.approx(tuple(bits), rel=1e-5)
        assert (line["device_bits"], line["beside_bits"]) == known
        assert (cell.dataset == EVIL) == (bits is None)
    assert {line["unfinished"] for line in lines} == {0, 2}


def test_only_columns_that_tell_cells_apart_are_columns(text):
    names = [column["name"] for column in data_in(text)["columns"]]
    assert names == ["test_accuracy", "dataset", "n_bits", "quantizer", "scope", "update", "seeds",
                     "unfinished", "train_accuracy", "seconds", "device_bits", "beside_bits"]
    words = shown(text)
    assert "Same for all: algorithm backprop n_layers 1 hidden_width 50 optimizer adadelta" in words
    assert "settings at their defaults schedule exponential gain none" in words


def test_an_axis_that_says_nothing_of_floats_is_no_difference(tmp_path):
    cells = [replace(CELL, update="hidden", n_bits=n, hidden_bits=n + 2, bias="float")
             for n in (2, 3)]
    path = csv_of(tmp_path / "x.csv", [row(cell, 0) for cell in (*cells, FLOAT)])
    names = {c["name"] for c in data_in(page.page_of([path]))["columns"]}
    assert {"n_bits", "hidden_bits", "update"} < names
    assert "bias" not in names
    lines = lines_in(page.page_of([path]))
    assert {line["update"]: line["hidden_bits"] for line in lines} == {"hidden": 5, "none": None}


def test_axes_that_the_algorithm_decides_on_are_told_apart(tmp_path):
    cells = [replace(CELL, algorithm=a, gain=g, lr=lr) for a, g in (("backprop", 1.5), ("fa", 1.0))
             for lr in (0.1, 1.0)]
    data = data_in(page.page_of([csv_of(tmp_path / "x.csv", [row(cell, 0) for cell in cells])]))
    implied = {c["name"]: c["implied"] for c in data["columns"] if "implied" in c}
    assert implied == {"algorithm": False, "gain": True, "lr": False}


def test_curves_are_means_over_finished_networks(folder, text):
    (line,) = (li for li in lines_in(text) if li["n_bits"] == 4 and li["dataset"] == "digits")
    curve = line["curve"]
    assert (curve["first"], curve["seeds"], curve["finished"]) == (1, 3, True)
    ids = [Replica(CELL, seed).id for seed in range(3)]
    rows = history_of([folder], "epochs", ids)
    for n in range(4):
        values = [r["test_accuracy"] for r in rows if r["epoch"] == n]
        assert curve["test"][n] == pytest.approx(statistics.fmean(values), abs=0.006)
        assert curve["test_deviation"][n] == pytest.approx(statistics.stdev(values), abs=0.006)


def test_a_network_in_training_has_a_curve_and_no_accuracy(tmp_path):
    replica = Replica(CELL, 0)
    with Store(tmp_path) as store:
        without = epoch(replica, 0) | dict.fromkeys(("train_accuracy", "test_accuracy"))
        fill(store, replica, [without, epoch(replica, 1, accuracy=30.0)])
    text = page.page_of([tmp_path])
    (line,) = lines_in(text)
    assert (line["test_accuracy"], line["deviation"], line["unfinished"]) == (None, None, 1)
    assert line["curve"] == {"first": 2, "test": [30.0], "test_deviation": [None], "train": [30.0],
                             "train_deviation": [None], "seeds": 1, "finished": False}
    assert "unfinished: 0 of 1 networks trained" in shown(text)


def test_what_is_not_finished_is_marked_and_counted_by_group(text):
    words = shown(text)
    assert "unfinished: 18 of 20 networks trained" in words
    assert "all 18 of 20 18 1 1" in words  # done, running, failed
    assert "backprop digits (1,50) 15 of 17 15 1 1" in words


def test_what_is_finished_is_not_marked(tmp_path):
    text = page.page_of([csv_of(tmp_path / "x.csv", [row(CELL, 0), row(CELL, 1, 60.0)])])
    assert "unfinished:" not in shown(text)
    (line,) = lines_in(text)
    assert line["test_accuracy"] == 55.0
    assert line["curve"] is None


def test_diverged_networks_count_and_need_no_number(tmp_path):
    store_of(tmp_path, [CELL], sound=False)
    (line,) = lines_in(page.page_of([tmp_path]))
    assert (line["test_accuracy"], line["diverged"], line["seeds"]) == (None, 3, 3)


def test_numbers_of_memories_are_columns(tmp_path):
    cells = [replace(FLOAT, update="constant_step", numbers=n) for n in ("", "dw_min=0.01")]
    cells.append(FLOAT)
    text = page.page_of([csv_of(tmp_path / "x.csv", [row(cell) for cell in cells])])
    (column,) = (c for c in data_in(text)["columns"] if c["name"].startswith("numbers"))
    assert (column["name"], column["title"]) == ("numbers.dw_min", "dw_min")
    assert "step" in column["about"]
    first, second, none = (line["numbers.dw_min"] for line in lines_in(text))
    assert first != second == 0.01
    assert none is None


def test_texts_of_the_results_are_no_html(text):
    assert EVIL not in text
    assert "<img" not in text
    assert EVIL in {line["dataset"] for line in lines_in(text)}
    assert EVIL in shown(text)


def test_the_page_needs_nothing_else(text):
    assert not re.findall(r'(?:src|href)="(?!data:,")', text)
    assert not re.findall(r"@import|url\(", text)
    assert "default-src 'none'" in text


def test_versions_and_sources_are_told(folder, text):
    assert f"from {folder}" in shown(text)
    assert "qjax 0 jax 0 device 1 x cpu" in shown(text)


# The command


def test_the_command_writes_a_page_of_some_replicas_of_any_source(folder, tmp_path, capsys):
    export = tmp_path / "x.csv"
    with Store(folder, create=False) as store, exporting.writing(export) as file:
        exporting.export(store, "replicas", file)
    other = store_of(tmp_path / "other", [replace(CELL, n_bits=3)])
    words = ["--results", str(export), str(other), "--only", "dataset=digits", "n_bits=2,3"]
    assert command.main(words) == 0
    written = tmp_path / "report.html"
    assert capsys.readouterr().out == f"{written}\n"
    text = written.read_text()
    assert {line["n_bits"] for line in lines_in(text)} == {2, 3}
    assert "only dataset=digits, only n_bits=2,3" in shown(text)


def test_refusals(folder, tmp_path, capsys):
    def said(*words):
        return refused(command, ["--results", *words], capsys)

    assert "expected the --out folder" in said(tmp_path / "none")
    assert "no replica has n_bits=7 (there is " in said(folder, "--only", "n_bits=7")
    assert "Choose another file with --out" in said(folder, "--out", tmp_path / "no" / "x.html")
    assert "leave one out" in said(folder, "--out", "x.html", "--serve")
    store_of(tmp_path / "empty", [])
    assert "train some with" in said(tmp_path / "empty")
    wrong = csv_of(tmp_path / "x.csv", [row(replace(CELL, numbers="<b>"))])
    assert "expected NAME=VALUE" in said(wrong)


# Served


@contextlib.contextmanager
def served(live):
    with serving.server_of(live, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{serving.HOST}:{server.server_port}/"
        server.shutdown()


def fetched(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read().decode()


def test_a_served_page_is_made_again_when_results_have_come(tmp_path, capsys):
    store_of(tmp_path, [CELL], seeds=1)
    now = [0.0]
    live = serving.Live([tmp_path], clock=lambda: now[0])
    with served(live) as address:
        first = fetched(address)
        stamp = fetched(f"{address}stamp")
        assert data_in(first)["stamp"] == stamp == fetched(f"{address}stamp")
        store_of(tmp_path, [FLOAT], seeds=1)
        live._next = 5.0  # the first took long: not yet
        assert fetched(f"{address}stamp") == stamp
        now[0] = 5.0
        assert fetched(f"{address}stamp") != stamp
        assert len(lines_in(fetched(address))) == 2
        with pytest.raises(urllib.error.HTTPError):
            fetched(f"{address}results.sqlite")
        for file in tmp_path.iterdir():
            file.unlink()
        assert len(lines_in(fetched(address))) == 2
        assert "the page stays as it is" in capsys.readouterr().err


def counts(live):
    """Of the plan's first line: done, diverged, running, interrupted, waiting, failed."""
    return re.findall(r"<td>(\d*)</td>", live.page.decode())[:6]


def test_a_served_page_tells_of_a_program_that_was_killed(tmp_path):
    store_of(tmp_path, [FLOAT], seeds=1)
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path
from examples import CELL, ORIGIN, Replica, Store
store = Store(Path({str(tmp_path)!r})); store.claim([Replica(CELL, 0)], ORIGIN)
print("claimed", flush=True); input()
"""
    program = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    assert program.stdout.readline() == b"claimed\n"
    live = serving.Live([tmp_path], clock=iter(range(0, 10**6, 1000)).__next__)
    assert counts(live) == ["1", "", "1", "", "", ""]
    program.kill()
    program.communicate()
    live.refresh()
    assert counts(live) == ["1", "", "", "1", "", ""]


def test_a_taken_port_is_refused(folder, capsys):
    live = serving.Live([folder])
    with served(live) as address:
        port = address.strip("/").rpartition(":")[2]
        assert "Choose another with --serve PORT" in refused(
            command, ["--results", folder, "--serve", port], capsys)


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("no chromium and chromedriver on the PATH: apt-get install chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (
        "headless", "disable-gpu", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync",
        "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"user-data-dir={tmp_path_factory.mktemp('browser')}",
        *(["no-sandbox"] if os.geteuid() == 0 else []),  # which root cannot have
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()


class Page:
    """A page in the browser, and what can be seen of it."""

    def __init__(self, driver, address, width=1200):
        self.driver = driver
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500})
        driver.get_log("browser")  # what others left
        driver.get(address)

    def __call__(self, script, *values):
        return self.driver.execute_script(f"return {script}", *values)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def column(self, name):
        """The texts below a heading."""
        return self("""[...document.querySelectorAll("tr.cell")].map(row =>
            row.cells[1 + place.get(arguments[0])].textContent)""", name)

    def type(self, selector, text):
        self.one(selector).clear()
        self.one(selector).send_keys(text)
        self("clearTimeout(waiting), show()")  # does not wait for the next letter

    def errors(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture
def opened(browser, text, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")
    seen = Page(browser, path.as_uri())
    yield seen
    assert seen.errors() == []


def test_it_sorts(opened):
    accuracies = [float(t.split()[0]) for t in opened.column("test_accuracy")]
    assert accuracies == sorted(accuracies, reverse=True)
    heading = opened.one('th[data-name="n_bits"]')
    assert heading.get_attribute("aria-sort") == "none"
    for order, bits in (("ascending", ["2", "4", "4", "8", "16", "float"]),
                        ("descending", ["float", "16", "8", "4", "4", "2"])):
        opened.one('th[data-name="n_bits"] button').send_keys("\n")
        assert heading.get_attribute("aria-sort") == order
        assert opened.column("n_bits") == bits


@pytest.mark.parametrize(("name", "typed", "bits"), [
    ("n_bits", ">4", ["8", "16"]), ("n_bits", "<= 4", ["2", "4", "4"]),
    ("n_bits", "=4", ["4", "4"]), ("n_bits", "4", ["4", "4"]),
    ("n_bits", "!=4", ["2", "8", "16", "float"]),
    ("update", "!nearest", ["float"]), ("dataset", "SCRIPT", ["4"]), ("update", ">x", None),
])
def test_it_filters(opened, name, typed, bits):
    opened.type(f'[data-filter="{name}"]', typed)
    everything = ["2", "4", "4", "8", "16", "float"]
    assert sorted(opened.column("n_bits"), key=everything.index) == (bits or everything)
    invalid = opened.one(f'[data-filter="{name}"]').get_attribute("aria-invalid")
    assert invalid == str(bits is None).lower()
    count = len(bits or everything)
    noun = "row" if count == 1 else "rows"
    assert opened.one("#count").text == f"{count} {noun} shown" + (", 6 in all" if bits else "")
    assert len(opened.all("#plot .point")) == count


def test_it_searches_and_forgets(opened):
    opened.type("#search", "symm digits 16")
    assert opened.column("n_bits") == ["16"]
    opened.one("#clear").click()
    opened("show()")
    assert len(opened.column("n_bits")) == 6


def test_a_row_opens_its_curve(opened):
    assert not opened.all(".curve")
    opened.one("tr.cell").click()
    assert len(opened.all(".curve path.line")) == 2
    assert opened.one("tr.cell button").get_attribute("aria-expanded") == "true"
    assert "3 networks" in opened.one(".curve").text
    opened.one("tr.cell button").send_keys("\n")
    assert opened("document.querySelectorAll('.curve').length") == 0


def test_a_point_opens_its_row(opened):
    opened("document.querySelector('#plot .point').dispatchEvent(new Event('click'))")
    assert len(opened.all(".curve")) == 1


def test_the_plot_is_against_any_axis(opened):
    names = opened("[...document.querySelectorAll('#x option')].map(o => o.value)")
    assert {"dataset", "n_bits", "device_bits", "seconds"} <= set(names)
    for name in names:
        opened("document.getElementById('x').value = arguments[0], plot()", name)
        title = opened("data.columns[place.get(arguments[0])].title", name)
        assert title in opened.one("#plot svg").text
        assert "test accuracy (%)" in opened.one("#plot svg").text
        known = sum(bool(t) for t in opened.column(name))
        assert len(opened.all("#plot .point")) == known
        assert opened(
            "[...document.querySelectorAll('#plot .point')].every(p => p.getBBox().x > 0)")


def test_a_number_that_some_memories_lack_is_an_axis_too(browser, tmp_path):
    cells = [replace(FLOAT, update="constant_step", numbers=f"dw_min={n}") for n in (0.001, 0.1)]
    text = page.page_of([csv_of(tmp_path / "x.csv", [row(cell) for cell in (*cells, FLOAT)])])
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    seen = Page(browser, (tmp_path / "page.html").as_uri())
    assert seen("document.getElementById('x').value") == "numbers.dw_min"
    assert len(seen.all("#plot .point")) == 2
    seen("""document.getElementById('x').value = 'update',
        document.getElementById('colour').value = 'numbers.dw_min', plot()""")
    assert len(seen.all("#plot .point")) == 3
    assert seen.one("#legend").text.split() == ["dw_min", "0.001", "0.1", "none"]
    assert seen.errors() == []


def test_it_opens_with_what_one_compares_by(browser, tmp_path):
    """Not with a gain that the algorithm decides on, nor coloured by what is the same so far."""
    cells = [replace(CELL, algorithm=a, gain=g, update=u) for a, g in (("backprop", 1.5), ("fa", 1))
             for u in ("nearest", "stochastic")]
    done = [row(cell) for cell in cells if cell.algorithm == "fa"]
    waiting = [row(cell, status="waiting") for cell in cells if cell.algorithm != "fa"]
    for rows, x, colour in (([row(cell) for cell in cells], "algorithm", "update"),
                            ([*done, *waiting], "algorithm", "update")):
        (tmp_path / "page.html").write_text(page.page_of([csv_of(tmp_path / "x.csv", rows)]),
                                            encoding="utf-8")
        seen = Page(browser, (tmp_path / "page.html").as_uri())
        assert seen("document.getElementById('x').value") == x
        assert seen("document.getElementById('colour').value") == colour


def test_texts_of_the_results_stay_texts_in_a_browser(opened):
    assert opened("document.images.length") == 0
    assert opened.driver.title.startswith("Results: ")
    assert EVIL in opened.column("dataset")


def test_a_phone_shows_it_without_scrolling_sideways(browser, text, tmp_path):
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    for width in (360, 390):
        seen = Page(browser, (tmp_path / "page.html").as_uri(), width)
        seen.one("tr.cell button").send_keys("\n")
        assert len(seen.all(".curve svg")) == 1
        assert seen("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
        assert seen("document.querySelector('.curve').getBoundingClientRect().right") <= width
        assert seen.errors() == []


def test_a_thousand_cells_are_shown_in_parts(browser, tmp_path):
    cells = [replace(CELL, n_bits=2 + i % 7, lr=0.001 * (1 + i)) for i in range(1500)]
    rows = [row(cell, accuracy=i / 20) for i, cell in enumerate(cells)]
    text = page.page_of([csv_of(tmp_path / "x.csv", rows)])
    assert len(text) < 300_000
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    seen = Page(browser, (tmp_path / "page.html").as_uri())
    assert seen.one("#count").text == "300 rows shown of 1500 that match"
    seen.one("#more").click()
    assert len(seen.column("lr")) == 900
    seen("document.getElementById('x').value = 'lr', plot()")
    assert "lr, logarithmic" in seen.one("#plot svg").text
    assert len(seen.all("#plot .point")) == 1500
    assert seen.errors() == []


def test_a_served_page_takes_in_what_has_come_and_stays_as_one_left_it(browser, tmp_path):
    store_of(tmp_path, [CELL, FLOAT], seeds=1)
    with served(serving.Live([tmp_path], clock=lambda: 0.0)) as address:
        seen = Page(browser, address)
        seen.one('th[data-name="n_bits"] button').click()
        seen.type('[data-filter="n_bits"]', ">2")
        seen.one("tr.cell").click()
        assert seen.column("n_bits") == ["4"]
        store_of(tmp_path, [replace(CELL, n_bits=3)], seeds=1)
        with Store(tmp_path) as store:
            store.claim([Replica(CELL, 7)], ORIGIN)
        seen("ask()")
        assert seen.column("n_bits") == ["3", "4"]
        assert seen.one('[data-filter="n_bits"]').get_attribute("value") == ">2"
        assert len(seen.all(".curve")) == 1
        assert seen.one(".mark").text == "unfinished: 3 of 4 networks trained"
        assert seen.one("#live").text.startswith("live")
        assert seen.errors() == []


@pytest.mark.thorough
def test_a_page_of_held_out_parts_says_so(tmp_path):
    text = page.page_of([csv_of(tmp_path / "x.csv", [
        row(replace(CELL, dataset="digits_holdout", n_bits=bits)) for bits in (2, 3)])])
    assert '<h2 id="plot-title">Held-out accuracy</h2>' in text
    assert data_in(text)["columns"][0]["title"] == "held-out accuracy (%)"
    assert '"test accuracy' not in text  # axes and curves have the column's title
