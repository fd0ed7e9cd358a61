"""Up to which order the derivative of each function was compared with differences: `python tests/orders.py`.

Runs the tests of NumPy's functions, notes for each call that `oracle.check` and `test_orders.check_third` verify which
functions took part and up to which order, and writes docs/orders.json, which docs/coverage.py publishes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oracle
import pytest

import chainrule as cr
from chainrule.graph import Node
from chainrule.rules import functions
from chainrule.rules.registry import qualified_name

HERE = Path(__file__).resolve().parent
PUBLISHED = HERE.parent / "docs" / "orders.json"
FILES = (  # noqa: SIM905 (a list of words)
    "arrays calculus cases complex decompositions emath fft generated inplace linalg namespace orders polynomials "
    "programs reductions rules selection signal singular ufuncs"
).split()


class Orders:
    """A plugin of pytest's that notes what is verified."""

    def __init__(self) -> None:
        self.orders: dict[str, int] = {}
        self.alike: dict[int, set[str]] = {}  # names of functions that are done by the same rule, or the same few lines
        for function, found in functions.items():
            self.alike.setdefault(id(found), set()).add(qualified_name(function))
        oracle.check = self.noting(oracle.check, lambda options: options.get("order", 2))

    def pytest_collection_modifyitems(self, session: Any) -> None:
        """The tests of third orders have a function of their own, in a module that is imported by now."""
        module = sys.modules["test_orders"]
        module.check_third = self.noting(module.check_third, lambda options: 3)  # type: ignore[attr-defined]

    def noting(self, check: Callable[..., None], order: Callable[[dict[str, Any]], int]) -> Callable[..., None]:
        def noted(f: Any, args: Any, *rest: Any, **options: Any) -> None:
            check(f, args, *rest, **options)
            for name in self.used(f, args):
                self.orders[name] = max(order(options), self.orders.get(name, 0))

        return noted

    def used(self, f: Any, args: Any) -> set[str]:
        """Names of the functions that were asked of Tensors, and of rules that the result was made by."""
        names: set[str] = set()
        alike = self.alike
        asked = cr.Tensor.__array_function__, cr.Tensor.__array_ufunc__

        def of_function(self: Any, function: Any, *rest: Any) -> Any:
            names.update(alike.get(id(functions.get(function)), set()))
            return asked[0](self, function, *rest)

        def of_ufunc(self: Any, ufunc: Any, *rest: Any, **options: Any) -> Any:
            names.update(alike.get(id(functions.get(ufunc)), set()))
            return asked[1](self, ufunc, *rest, **options)

        cr.Tensor.__array_function__, cr.Tensor.__array_ufunc__ = of_function, of_ufunc
        try:
            results = oracle.parts(f(*(cr.Tensor(arg) for arg in args)))
        finally:
            cr.Tensor.__array_function__, cr.Tensor.__array_ufunc__ = asked
        seen: set[Node] = set()
        waiting = [result.node for result in results if isinstance(result, cr.Tensor) and result.node is not None]
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting += node.operands
                names |= alike.get(id(node.rule), set())
        return names


if __name__ == "__main__":
    orders = Orders()
    code = pytest.main(["-q", "-p", "no:cacheprovider", *(str(HERE / f"test_{name}.py") for name in FILES)], [orders])
    if code:
        sys.exit(int(code))
    PUBLISHED.write_text(json.dumps(dict(sorted(orders.orders.items())), indent=1) + "\n", encoding="utf-8")
    print(f"wrote {PUBLISHED}: {len(orders.orders)} of {len(functions)} functions")
