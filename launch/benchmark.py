r"""Times this library's work next to the same work in other libraries, in one run.

python -m launch.benchmark --peers
python -m launch.benchmark --what=forward,train_step --peers=torch --json=benchmark.json

That all compute the same is checked first; a row where they do not is omitted, and says why. The
calls that are compared take turns, so that whatever else the machine does meets all of them; a ratio
is one of medians over rounds. A row that needs a library or data that is not there is omitted by
name, and so is a peer. `--what=growth` shows how searching, voting and training grow.

`--page=docs/measurements.md` times nothing: it writes the page of what `--recorded` holds.

On an accelerator the network computes in bfloat16 and PyTorch compiles its own:

python -m launch.benchmark --peers=torch --json=out.json --profile=profile
"""

import datetime
import gc
import json
import pathlib
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import jax
from absl import flags

from dsf_jax.data.files import write_atomic
from launch import common
from launch.benchmarks import report
from launch.benchmarks.cold_start import cold_start
from launch.benchmarks.drawings import points, resize, voting
from launch.benchmarks.forms import forms
from launch.benchmarks.gallery import indexing, page_query, watching
from launch.benchmarks.growth import grow_search, grow_voting, in_fresh_process
from launch.benchmarks.growth_training import grow_training
from launch.benchmarks.inversion import inversion
from launch.benchmarks.lite import lite0_forward, lite0_train_step
from launch.benchmarks.measurements import page_of
from launch.benchmarks.metrics import metrics
from launch.benchmarks.network import forward, train_step
from launch.benchmarks.pipeline import pipeline
from launch.benchmarks.search import search
from launch.benchmarks.timing import machine
from launch.benchmarks.vit import vit_forward
from launch.benchmarks.work import PEERS, DifferentWorkError, Row, Setting, Work, timed

ROWS: dict[str, Callable[[Setting], Iterator[Work]]] = {
    "forward": forward,
    "train_step": train_step,
    "voting": voting,
    "resize": resize,
    "points": points,
    "search": search,
    "metrics": metrics,
    "pipeline": pipeline,
    "inversion": inversion,
    "cold_start": cold_start,
    "lite0_forward": lite0_forward,
    "lite0_train_step": lite0_train_step,
    "vit_forward": vit_forward,
    "indexing": indexing,
    "watching": watching,
    "page": page_query,
}
MORE_ROWS = {"forms": forms}  # not of the library against others: other forms of its own parts
GROWTH = "growth"
RECORDED = pathlib.Path(__file__).parent / "benchmarks" / "recorded.json"
PROFILED_CALLS = 3
CANNOT_RUN = (ImportError, FileNotFoundError, MemoryError, RuntimeError)  # the last of devices, too


class _PeersParser(flags.ArgumentParser):
    """`--peers` without a value means all, `--nopeers` none, `--peers=torch,faiss` these."""

    syntactic_help = f"true, false, or a list of {', '.join(PEERS)}"

    def parse(self, argument: Any) -> frozenset[str]:
        """Reads the flag's value."""
        if not isinstance(argument, str):
            return frozenset(argument)
        if argument in ("true", "false"):
            return frozenset(PEERS) if argument == "true" else frozenset()
        names = argument.split(",")
        for name in names:
            if name not in PEERS:
                raise ValueError(f"{name!r} is unknown, choose from {', '.join(PEERS)}")
        return frozenset(names)


_WHAT = flags.DEFINE_list(
    "what",
    list(ROWS),
    f"What to time: {', '.join(ROWS)}; or forms, other forms of the same computation; or {GROWTH}, which takes longer.",
)
_PEERS: flags.FlagHolder[frozenset[str]] = flags.DEFINE(
    _PeersParser(),
    "peers",
    (),
    "Libraries that do the same work in turn; --peers without a value: all.",
)
flags.FLAGS["peers"].boolean = True  # may stand without a value
flags.FLAGS["peers"].default_as_str = "'none'"  # in --help
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images in a batch.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Timings of each call, at most.", lower_bound=1)
_SECONDS = flags.DEFINE_float(
    "seconds", 60.0, "Time limit per row: no round begins after it, but three."
)
_JSON = flags.DEFINE_string("json", None, "File that the results go to as well; never overwritten.")
_RECORDED = flags.DEFINE_string(
    "recorded",
    str(RECORDED),
    "File of an earlier --json to compare ratios with, or to write --page of.",
)
_PAGE = flags.DEFINE_string(
    "page",
    None,
    "Markdown file to write of what --recorded holds, or to replace; nothing is timed.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", Setting().data_dir, "pipeline: folder of prepared records."
)
_DTYPE = flags.DEFINE_enum(
    "dtype", None, ["float32", "bfloat16"],
    "The network's computation; by default float32 on a CPU, else bfloat16.",
)  # fmt: skip
_COMPILE = flags.DEFINE_boolean(
    "torch_compile", None, "Whether PyTorch compiles its network; by default not on a CPU."
)
_PROFILE = flags.DEFINE_string(
    "profile", None, "Folder for JAX's profiles of our side of each row; none by default."
)
_SMALL = flags.DEFINE_boolean("small", False, "Sizes that take no time: to try the rows out.")


def setting() -> Setting:
    """The rows' setting from flags and backend."""
    on_cpu = jax.default_backend() == "cpu"
    return Setting(
        batch_size=_BATCH_SIZE.value,
        peers=_PEERS.value,
        dtype=_DTYPE.value or ("float32" if on_cpu else "bfloat16"),
        compiled=not on_cpu if _COMPILE.value is None else _COMPILE.value,
        data_dir=_DATA_DIR.value,
        small=_SMALL.value,
    )


def run_row(what: str, setting: Setting) -> Iterator[list[Row]]:
    """Times one entry of `ROWS` or `MORE_ROWS`, each piece of its work before the next is made."""
    for work in (ROWS | MORE_ROWS)[what](setting):
        yield timed(work, _ROUNDS.value, most_seconds=_SECONDS.value, small=setting.small)
        if _PROFILE.value:
            with jax.profiler.trace(str(pathlib.Path(_PROFILE.value) / work.what)):
                for _ in range(PROFILED_CALLS):
                    work.ours()
        del work
        gc.collect()  # galleries are large


def run_rows(
    chosen: list[str], setting: Setting, keep: Callable[[list[Row], dict[str, str]], None]
) -> tuple[list[Row], dict[str, str]]:
    """Times the chosen rows; what cannot run here (a library, data or memory is missing), or whose peer
    computes something else, is omitted with its reason, so that the others are not lost for it.

    Args:
      chosen: names of `ROWS` and `MORE_ROWS`.
      setting: how they are run.
      keep: function that takes what there is after each piece of work, in case that the next fails.

    Returns:
      The rows, and the reasons by name of what was omitted.
    """
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    for what in chosen:
        try:
            for more in run_row(what, setting):
                rows += more
                keep(rows, left_out)
        except (*CANNOT_RUN, DifferentWorkError) as error:
            left_out[what] = str(error).strip() or type(error).__name__
            keep(rows, left_out)
    return rows, left_out


def grow(setting: Setting) -> dict[str, Any]:
    """Measures and prints growth; returns it as JSON keeps it."""
    rounds, small = _ROUNDS.value, setting.small
    searched, voted = grow_search(rounds, small=small), grow_voting(rounds, small=small)
    trained = grow_training(in_fresh_process, setting.batch_size, rounds, small=small)
    print(f"\n{report.growth_tables(searched, voted)}")
    print(f"\n{report.training_table(trained)}\n")
    parts: dict[str, list[Any]] = {
        "search": list(searched),
        "voting": list(voted),
        "training": list(trained),
    }
    return {name: [report.record(x) for x in each] for name, each in parts.items()}


def command() -> str:
    """Returns the command that times the same work: the given flags but for names of files and folders."""
    words = []
    for name in (
        "peers",
        "what",
        "batch_size",
        "rounds",
        "seconds",
        "dtype",
        "torch_compile",
        "small",
    ):
        if flags.FLAGS[name].present:
            value: Any = flags.FLAGS[name].value
            if name == "peers":
                value = sorted(value)
            words.append(f"--{name}={','.join(value) if isinstance(value, list) else value}")
    return shlex.join(["python", "-m", "launch.benchmark", *words])


def write_page(path: pathlib.Path) -> None:
    """Writes the page of what was recorded.

    Args:
      path: file that is made or replaced.

    Raises:
      ValueError: when a flag asks for timing as well.
      OSError: when the folder is not there.
    """
    for name in ("what", "peers", "json", "profile"):
        if flags.FLAGS[name].present:
            raise ValueError(
                f"--page writes what --recorded holds and times nothing; leave out --{name}, or --page"
            )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder; make it, or choose another place")
    write_atomic(path, page_of(pathlib.Path(_RECORDED.value), ROWS))
    print(f"{path}: the page of {_RECORDED.value}")


def main() -> None:
    """Benchmarks as the flags say."""
    if _PAGE.value:
        write_page(pathlib.Path(_PAGE.value))
        return
    out = common.new_file(_JSON.value)
    known = [*ROWS, *MORE_ROWS, GROWTH]
    for what in _WHAT.value:
        if what not in known:
            raise ValueError(f"--what={what} is unknown; choose from {', '.join(known)}")
    here, chosen = setting(), [what for what in _WHAT.value if what != GROWTH]
    results: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "machine": machine(),
        "versions": here.versions(),
        "command": command(),
        "batch_size": here.batch_size,
        "dtype": here.dtype,
    }
    recorded, about = report.read_recorded(pathlib.Path(_RECORDED.value), results)
    print(json.dumps(results))
    if here.missing():
        print(
            f"peers that are not installed here: {', '.join(here.missing())}; the extra `bench` brings them"
        )

    def keep(rows: list[Row], left_out: dict[str, str]) -> None:
        results.update(rows=[report.record(row) for row in rows], left_out=left_out)
        if out:
            write_atomic(out, json.dumps(results, indent=1) + "\n")

    if chosen:
        rows, left_out = run_rows(chosen, here, keep)
        print(f"\n{report.rows_table(rows, recorded)}\n\n{about}")
        for what, reason in left_out.items():
            print(f"left out: {what} ({reason})")
        for row in rows:
            before = recorded.get((row.what, row.who))
            if before and report.regressed(row, before):
                print(f"regressed by more than the spread: {row.what}, against {row.who}")
    if GROWTH in _WHAT.value:
        results["growth"] = grow(here)
    if out:
        write_atomic(out, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    common.run(main)
