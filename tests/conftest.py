"""What every test run says last."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

os.environ["CHAINRULE_CACHE"] = ""  # tests compile, and leave nothing in the user's cache

import oracle  # noqa: F401 (its table is of the library's operations, before tests register some of theirs)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Which libraries derivatives are compared with: JAX and autograd only where they are installed."""
    peers = []
    for name in ("numpy", "scipy", "torch", "jax", "autograd", "mygrad", "tinygrad", "micrograd"):
        try:
            peers.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            peers.append(f"{name} not installed, so not compared with")
    terminalreporter.write_line("peers: " + ", ".join(peers))
    skipped = {str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ()) if report.longrepr}
    for reason in sorted(skipped):
        terminalreporter.write_line(f"not tested: {reason.removeprefix('Skipped: ')}")
