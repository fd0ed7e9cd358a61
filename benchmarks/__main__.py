"""`python -m benchmarks [--rows scalar,mlp] [--quick]`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .harness import QUIET, alone, check_agreement, interleaved, measured_here
from .report import Result, overhead, page, table
from .rows import CONTESTANTS, ROWS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def run(name: str, rounds: int, separately: bool) -> Result:
    """Check and time one row."""
    row = ROWS[name]()
    steps = row.steps()
    check_agreement({contestant: step() for contestant, step in steps.items()}, "NumPy", row.tolerance)
    result = Result(row, interleaved(steps, rounds))
    if row.large and separately:
        contestants = list(steps)
        steps.clear()  # their buffers, too
        result.alone = {contestant: alone(name, contestant, rounds) for contestant in contestants}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time chainrule beside other libraries.")
    parser.add_argument("--rows", help="only rows whose names contain one of these, separated by commas; prints only")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no row of 1e7 elements, nothing alone")
    parser.add_argument("--rounds", type=int, default=0, help="how many rounds (7; 3 if quick)")
    parser.add_argument("--alone", nargs=2, metavar=("ROW", "CONTESTANT"), help="time one, print JSON")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 7)
    if arguments.alone:
        name, contestant = arguments.alone
        print(json.dumps(measured_here(ROWS[name]().steps(contestant)[contestant], rounds)))
        return
    wanted = arguments.rows.split(",") if arguments.rows else [""]
    names = [name for name in ROWS if any(part in name for part in wanted)]
    if arguments.quick:
        names = [name for name in names if "1e7" not in name]
    if not names:
        parser.error(f"no row matches {arguments.rows!r}; there are: {', '.join(ROWS)}")
    results = []
    for name in names:
        results.append(run(name, rounds, separately=not arguments.quick))
        found, disturbance = results[-1].together
        ratios = [f"{found['chainrule'] / found[n]:.2f}× {n}" for n in CONTESTANTS[1:] if n in found]
        busy = f"(others used {disturbance:.0%} of the processor)" if disturbance > QUIET else ""
        print(f"{name:32}", *ratios, busy, sep="  ", flush=True)
    print("", *table(results), "", *overhead(results), sep="\n")
    if not arguments.rows and not arguments.quick:
        PAGE.write_text(page(results), encoding="utf-8")
        print(f"\nwrote {PAGE}")


if __name__ == "__main__":
    main()
