"""`python -m benchmarks [--only scalar,mlp] [--quick]`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from .compiled import PROGRAMS
from .harness import QUIET, ROOT, LateError, elsewhere, measured_alone
from .jacobians import JACOBIANS
from .measure import measured
from .report import COMPILED, EAGER, Result, amount, page, tables
from .rows import ROWS as EAGER_ROWS
from .scaling import CURVES, curve, measured_at, plotted
from .sparse import SPARSE
from .training import TRAINING
from .watching import WATCHED

ROWS = EAGER_ROWS | PROGRAMS | TRAINING | JACOBIANS | SPARSE | WATCHED
PAGE = ROOT / "docs" / "benchmarks.md"
KEPT = ROOT / "out" / "benchmarks.json"  # what was measured, so that the page can be written again
PATIENCE = 300.0  # seconds for a row


def run(name: str, rounds: int, quick: bool) -> Result:
    """Measure one row in a process of its own, and its contestants alone where memory or threads decide."""
    row = ROWS[name]()
    flags = ["--rounds", str(rounds), *(["--quick"] if quick else [])]
    late: dict[str, str] = {}  # who keeps the others from being measured
    found: dict[str, Any] = {}
    while not found:
        try:
            found = elsewhere(["--row", name, *flags, "--without", ",".join(late)], PATIENCE)
        except LateError as error:
            if not error.who:
                return Result(row.name, row.title, str(row.dtype), failed={"the whole row": str(error)} | late)
            late[error.who] = str(error)
        except RuntimeError as error:
            return Result(row.name, row.title, str(row.dtype), failed={"the whole row": str(error)} | late)
    found["failed"] |= late
    result = Result(row.name, row.title, str(row.dtype), operations=row.operations, lean=row.lean, **found)
    result.overhead = row.overhead
    result.bars = [[*who, limit] for who, limit in row.bars.items()]
    if row.alone and not quick:
        for contestant in row.makers():
            if contestant in result.seconds:
                try:
                    result.alone[contestant] = elsewhere(["--alone", name, contestant, *flags], PATIENCE)
                except RuntimeError as error:
                    result.failed[f"{contestant}, alone"] = str(error)
    return result


def told(result: Result) -> str:
    """One line for who is watching."""
    found = result.seconds
    ratios = [
        f"{ours} {amount(found[ours])}: "
        + ", ".join(f"{found[ours] / found[n]:.2f}× {n}" for n in others if n in found)
        for ours, *others in (EAGER, COMPILED)
        if ours in found
    ]
    busy = f"(others used {result.disturbance:.0%} of the processor)" if result.disturbance > QUIET else ""
    failed = [f"{name}: {why}" for name, why in result.failed.items()]
    return "  ".join([f"{result.name:32}", *ratios, busy, *failed])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time chainrule beside other libraries.")
    parser.add_argument(
        "--only", metavar="ROWS", help="only rows whose names contain one of these, separated by commas"
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, no row of 1e7 elements, no torch.compile, nothing alone"
    )
    parser.add_argument("--rounds", type=int, default=0, help="how many rounds (7; 3 if quick)")
    parser.add_argument("--page", action="store_true", help="write the page again, of what was measured last")
    parser.add_argument("--row", metavar="ROW", help="measure one row, print JSON")
    parser.add_argument("--without", metavar="CONTESTANTS", default="", help="who is left out of that row")
    parser.add_argument("--alone", nargs=2, metavar=("ROW", "CONTESTANT"), help="time one, print JSON")
    parser.add_argument("--curve", nargs=2, metavar=("CURVE", "CONTESTANT"), help="time and memory by size, print JSON")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 7)
    if arguments.row:
        without = [*arguments.without.split(","), *(["torch.compile"] if arguments.quick else [])]
        print(json.dumps(measured(ROWS[arguments.row](), rounds, without)))
    elif arguments.alone:
        name, contestant = arguments.alone
        print(json.dumps(measured_alone(ROWS[name]().makers()[contestant](), rounds)))
    elif arguments.curve:
        print(json.dumps(measured_at(*arguments.curve)))
    elif arguments.page:
        write()
    else:
        wanted = arguments.only.split(",") if arguments.only else [""]
        names = [name for name in (*ROWS, *CURVES) if any(part in name for part in wanted)]
        if arguments.quick:
            names = [name for name in names if "1e7" not in name]
        if not names:
            parser.error(f"no row matches {arguments.only!r}; there are: {', '.join((*ROWS, *CURVES))}")
        everything(names, rounds, keep=not arguments.quick, quick=arguments.quick)
        if not arguments.only and not arguments.quick:
            write()


def everything(names: list[str], rounds: int, quick: bool, keep: bool) -> None:
    """Measure and print; what is measured is kept as it comes, in place of what was kept of the same row or curve."""
    start = time.monotonic()
    results = []
    for name in names:
        if name in ROWS:
            results.append(run(name, rounds, quick))
            print(told(results[-1]), flush=True)
            if keep:
                put("results", name, vars(results[-1]))
    print("", *tables(results), sep="\n")
    for name in names:
        if name in CURVES:
            found = curve(name)
            if keep:
                put("curves", name, found)
    print(f"\ntook {(time.monotonic() - start) / 60:.1f} minutes")


def kept() -> dict[str, dict[str, Any]]:
    """What was measured, by rows and curves."""
    if KEPT.exists():
        found: dict[str, dict[str, Any]] = json.loads(KEPT.read_text(encoding="utf-8"))
        return found
    return {"results": {}, "curves": {}}


def put(what: str, name: str, found: Any) -> None:
    everything_kept = kept()
    everything_kept[what][name] = found
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps(everything_kept), encoding="utf-8")


def write() -> None:
    """Write the page and its plots of what is kept."""
    found = kept()
    results = [Result(**found["results"][name]) for name in ROWS if name in found["results"]]
    pictures: list[Path] = plotted(
        {name: found["curves"][name] for name in CURVES if name in found["curves"]}, PAGE.parent
    )
    PAGE.write_text(page(results, pictures), encoding="utf-8")
    print(f"\nwrote {PAGE} and {len(pictures)} pictures")


if __name__ == "__main__":
    main()
