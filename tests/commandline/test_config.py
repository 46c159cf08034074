"""Tests of flags out of files: what they say, which of several counts, what a run writes down."""

import tomllib

import pytest
from programs import command, numbers, planned

from experiments import run
from experiments.commandline import config
from experiments.commandline.config import Config


def cells(*words):
    return planned(" ".join(words))


def file(tmp_path, text, name="own.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        run.parser().parse_args(list(map(str, words)))
    assert ended.value.code == 2
    return capsys.readouterr().err


# --- files ---


def test_a_file_is_what_the_command_line_would_say(tmp_path):
    path = file(tmp_path, """
        algorithm = ["backprop", "fa"]
        n_bits = [2, 3, "float"]
        lr = 0.06
        memory = "hidden"
        hidden-bits = "+2"
        diagnostics = true
        resume = false
    """)
    said = ("--algorithm backprop fa --n-bits 2 3 float --lr 0.06 --memory hidden --hidden-bits +2 "
            "--diagnostics")
    ours, theirs = (run.parser().parse_args(words.split())
                    for words in (f"--config {path}", said))
    assert run.cells_of(ours) == run.cells_of(theirs)
    assert ours.diagnostics
    assert not ours.resume


def test_the_command_line_wins_over_a_table_which_wins_over_the_file(tmp_path):
    path = file(tmp_path, 'lr = 0.1\ngain = [1, 2]\n[fa]\nlr = [0.2, 0.3]\ngain = 3.0\n')
    words = f"--algorithm backprop fa --config {path}"

    def found(*more):
        return [(c.algorithm, c.lr, c.gain) for c in cells(words, *more)]

    assert found() == [("backprop", 0.1, 1), ("backprop", 0.1, 2), ("fa", 0.2, 3), ("fa", 0.3, 3)]
    assert found("--lr 5") == [("backprop", 5, 1), ("backprop", 5, 2), ("fa", 5, 3)]
    assert found("--gain none") == [("backprop", 0.1, None), ("fa", 0.2, None), ("fa", 0.3, None)]


def test_two_names_of_one_flag_are_one(tmp_path):
    path = file(tmp_path, 'memory = "stochastic"\n[fa]\nupdate = "latent"')
    words = f"--n-bits 3 --algorithm backprop fa --config {path}"
    assert [c.update for c in cells(words)] == ["stochastic", "latent"]
    assert [c.update for c in cells(words, "--memory nearest")] == ["nearest", "nearest"]
    assert [c.update for c in cells(words, "--update nearest")] == ["nearest", "nearest"]


@pytest.mark.parametrize(("text", "message"), [
    ("lrr = 3", "unknown key lrr: did you mean lr?"),
    ("config = 'other.toml'", "unknown key config"),
    ("lr = 'abc'", "argument --lr: expected a finite number above 0, got 'abc'"),
    ("lr = -1", "argument --lr: expected a finite number above 0, got '-1'"),
    ("lr = {a = 1}", "unknown table [lr]"),
    ("[fb]\nlr = 2", "unknown table [fb]: did you mean fa?"),
    ("[fa]\nlr = 'x'", "argument --lr"),
    ("[fa]\nlrr = 2", "unknown key lrr"),
    ("lr = [1, true]", "expected a number, a text, true or false, or a list"),
    ("lr = [[1]]", "expected a number, a text"),
    ("lr = ", "is not TOML"),
    ("memory = 'hiden'", "unknown value 'hiden': did you mean hidden?"),
])
def test_what_a_file_cannot_say(tmp_path, capsys, text, message):
    path = file(tmp_path, text)
    told = refused(capsys, "--config", path)
    assert message in told
    assert str(path) in told


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert "cannot read" in refused(capsys, "--config", tmp_path / "absent.toml")


def test_files_are_written_as_they_are_read(tmp_path):
    flags = {"lr": ["0.1", "0.001", "none"], "n-bits": ["float"], "set": ['dw_min=0.3,3 nu="1"'],
             "diagnostics": [], "hidden-bits": ["+2"], "dataset": ["a\\b\n.npz"]}
    ours = Config(flags, {"fa": {"lr": ["3"]}, "hsic": {}})
    config.write(ours, tmp_path / "c.toml", "for a test")
    assert config.read(tmp_path / "c.toml") == Config(flags, {"fa": {"lr": ["3"]}})
    assert tomllib.loads((tmp_path / "c.toml").read_text())["lr"] == [0.1, 0.001, "none"]


# --- recipes ---


@pytest.mark.parametrize("name", config.recipes())
def test_recipes_are_flags(name, capsys):
    assert cells(f"--recipe {name}")
    with pytest.raises(SystemExit) as ended:
        run.parser().parse_args(["--recipe", name, "--print"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == config.recipe(name).read_text()


def test_the_recipe_of_few_bits_differs_by_algorithm():
    found = cells("--recipe few-bits --n-bits 2 --algorithm backprop fa kp dni_linear")
    assert [(c.gain, c.threshold, c.batch_size) for c in found] == [
        (1.5, 1.5, 256), (1, 1.5, 256), (1, 0, 256), (1, 1.5, 128)]
    assert {(c.update, c.hidden_bits, c.optimizer, c.scope) for c in found} == {
        ("hidden", 4, "balanced", "global")}


def test_a_file_is_read_after_a_recipe(tmp_path):
    path = file(tmp_path, "gain = 7.0")
    found = cells(f"--recipe few-bits --config {path} --algorithm backprop fa --n-bits 2")
    assert [c.gain for c in found] == [7, 7]


def test_there_is_nothing_to_print_without_a_recipe(capsys):
    assert "--print prints a recipe: add --recipe" in refused(capsys, "--print")
    assert "did you mean few-bits?" in refused(capsys, "--recipe", "few-bit")


# --- what a run writes down ---


def test_a_run_writes_down_what_it_trains(tmp_path):
    words = "--epochs 1 --seeds 1 --hidden-width 3"
    own = file(tmp_path, "[fa]\nlr = 0.5\n[kp]\nlr = 0.2")
    first = command(tmp_path / "a", f"--algorithm fa --n-bits float --config {own}", words)
    assert first.code == 0, first.printed
    written = tmp_path / "a" / "config.toml"
    assert "[fa]" in written.read_text()
    assert "[kp]" not in written.read_text()
    again = command(tmp_path / "b", f"--config {written}")
    assert again.code == 0, again.printed
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")
    assert written.read_bytes() == (tmp_path / "b" / "config.toml").read_bytes()
    # The same again writes nothing new, another grid its own file.
    command(tmp_path / "a", f"--config {written} --resume")
    assert [path.name for path in (tmp_path / "a").glob("config*")] == ["config.toml"]
    command(tmp_path / "a", f"--config {written} --algorithm backprop --lr 0.3")
    assert "lr = 0.3" in (tmp_path / "a" / "config-2.toml").read_text()
    assert "[fa]" not in (tmp_path / "a" / "config-2.toml").read_text()


def test_few_bits_with_nothing_else_name_the_recipe(tmp_path, capsys):
    words = "--n-bits 3 --dry-run --dataset digits"
    command(tmp_path, words)
    assert "--recipe few-bits" in capsys.readouterr().err
    for more in ("--memory stochastic", "--recipe few-bits", "--n-bits 8", "--update nearest"):
        command(tmp_path, words, more)
        assert "--recipe" not in capsys.readouterr().err, more
