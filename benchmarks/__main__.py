"""`python -m benchmarks [--only scalar,mlp] [--quick]`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .compiled import PROGRAMS
from .harness import QUIET, alone, check_agreement, interleaved, measured_here
from .jacobians import JACOBIANS
from .report import COMPILED, EAGER, Result, amount, compiled_table, overhead, page, table
from .rows import ROWS as EAGER_ROWS

ROWS = EAGER_ROWS | PROGRAMS | JACOBIANS
PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def run(name: str, rounds: int, quick: bool) -> Result:
    """Check and time one row."""
    row = ROWS[name]()
    steps = row.steps(without=("torch.compile",) if quick else ())
    like = "NumPy" if "NumPy" in steps else "chainrule"
    for _ in range(4):  # after the third call, jit runs on kernels
        check_agreement({contestant: step() for contestant, step in steps.items()}, like, row.tolerance)
    result = Result(row, interleaved(steps, rounds))
    if row.large and not quick:
        contestants = list(steps)
        steps.clear()  # their buffers, too
        result.alone = {contestant: alone(name, contestant, rounds) for contestant in contestants}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time chainrule beside other libraries.")
    parser.add_argument(
        "--only", metavar="ROWS", help="only rows whose names contain one of these, separated by commas; prints only"
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, no row of 1e7 elements, no torch.compile, nothing alone"
    )
    parser.add_argument("--rounds", type=int, default=0, help="how many rounds (7; 3 if quick)")
    parser.add_argument("--alone", nargs=2, metavar=("ROW", "CONTESTANT"), help="time one, print JSON")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 7)
    if arguments.alone:
        name, contestant = arguments.alone
        print(json.dumps(measured_here(ROWS[name]().steps([contestant])[contestant], rounds)))
        return
    wanted = arguments.only.split(",") if arguments.only else [""]
    names = [name for name in ROWS if any(part in name for part in wanted)]
    if arguments.quick:
        names = [name for name in names if "1e7" not in name]
    if not names:
        parser.error(f"no row matches {arguments.only!r}; there are: {', '.join(ROWS)}")
    results = []
    for name in names:
        results.append(run(name, rounds, arguments.quick))
        found, disturbance = results[-1].together
        ratios = [
            f"{ours} {amount(found[ours])}: "
            + ", ".join(f"{found[ours] / found[n]:.2f}× {n}" for n in others if n in found)
            for ours, *others in (EAGER, COMPILED)
            if ours in found
        ]
        busy = f"(others used {disturbance:.0%} of the processor)" if disturbance > QUIET else ""
        print(f"{name:32}", *ratios, busy, sep="  ", flush=True)
    print("", *table(results), "", *compiled_table(results), "", *overhead(results), sep="\n")
    if not arguments.only and not arguments.quick:
        PAGE.write_text(page(results), encoding="utf-8")
        print(f"\nwrote {PAGE}")


if __name__ == "__main__":
    main()
