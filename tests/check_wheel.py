"""Build a wheel, install it where nothing else is, and use it.  Run by `make check`, not by pytest: it installs.

The wheel must stay small, bring NumPy and nothing else, and work without the packages that only demos and tests need.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 1_000_000  # bytes
PROGRAM = """
import sys, time
import numpy as np
start = time.perf_counter()
import chainrule as cr
seconds = time.perf_counter() - start
heavy = {"matplotlib", "scipy", "torch", "sklearn", "tqdm", "jax", "autograd"} & set(sys.modules)
assert not heavy, f"importing chainrule imported {heavy}"
assert cr.grad(lambda x: np.sum(np.tanh(x) ** 2))(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
y = cr.Tensor(2.0) ** 2
page = cr.show(y, open=False)
assert "</html>" in page.read_text(encoding="utf-8")
page.unlink()
print(f"chainrule {cr.__version__} with NumPy {np.__version__}: imported in {seconds * 1e3:.0f} ms beyond NumPy")
"""


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=tempfile.gettempdir())


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place / "dist", ROOT)
        (wheel,) = (place / "dist").glob("*.whl")
        size = wheel.stat().st_size
        names = zipfile.ZipFile(wheel).namelist()
        assert size <= LIMIT, f"{wheel.name} has {size} bytes, more than {LIMIT}"
        assert "chainrule/py.typed" in names, "the wheel does not say that it is typed"
        assert {"chainrule/walk/show.html", "chainrule/walk/picture.js"} <= set(names), (
            "the wheel lacks the page of show()"
        )
        foreign = [n for n in names if not n.startswith(("chainrule/", "chainrule-"))]
        assert not foreign, f"in the wheel, but no part of the package: {foreign}"
        venv.create(place / "empty", with_pip=True)
        python = place / "empty" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
        run(python, "-W", "error", "-c", PROGRAM)
        print(f"{wheel.name}: {size} bytes")


if __name__ == "__main__":
    main()
