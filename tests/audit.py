"""The mutation audit (`make audit`): corrupt the rules one at a time, and see whether the tests notice.

Corrupted are the registered `Rule` objects, in a process of their own: signs, factors, zeros, guards and constants of
formulas, conjugation, what is kept, transposes and pushes, arguments that a transpose reads, and the careful forms of
rule R4.  A first pass notes which tests use which function of which rule; each mutant is then given to those tests,
those that mention the rule first, until one fails.  Printed is what survives; of rows and linear rules nothing may.

    python tests/audit.py [name of a rule, or of a kind of rules ...] [-- files with tests]
"""

from __future__ import annotations

import ast
import copy
import dis
import inspect
import os
import pickle
import re
import signal
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import operators, tensor
from chainrule.graph import Node
from chainrule.rules.registry import LETTERS, Rule, _partial_trees, functions, partial_trees, rules
from chainrule.walk import functions as printing
from chainrule.walk.pull import accumulate

HERE = Path(__file__).resolve().parent
WORKERS = os.cpu_count() or 2
SECONDS = 120  # for the tests of one mutant; one that hangs is noticed too
# The tests of rules; the others use them too, but cost more than they notice.
ABOUT_RULES = (  # noqa: SIM905 (a list of words)
    "rules arrays reductions selection signal fft linalg decompositions polynomials ufuncs semantics zero_wins orders "
    "complex emath singular generated expressions inplace control"
).split()
PULLS, PUSHES = ("pull", "careful_pull", "recorded_pull"), ("forward", "careful_forward")
FIELDS = PULLS + PUSHES
SURVIVED, CAUGHT, NEVER_RUN = range(3)


@dataclass
class Mutant:
    """One corruption of one rule: `apply` makes it, in a process of its own."""

    rule: str
    kind: str
    what: str
    uses: tuple[str, ...]  # the tests that used one of these functions of the rule may notice
    apply: Callable[[], None]
    may_be_idle: bool = False  # of an operand that may not exist, or may have no derivative, such as a condition


# Mutants that mean the same as the rule: which rules, what was corrupted, and why nothing changes.
EQUIVALENT: dict[str, tuple[str, str]] = {
    r"(weight2?|bell) \(complex\)": ("", "only formulas of functions of real numbers call these"),
    r"arccosh \(complex\)": (
        r"> absolute\(sqrt\(a (- 2|\+ 1)\) \* sqrt\(a \+ 1\) \+ sinh",
        "this side decides only where the root has lost its sign: left of -1, and there both are near enough to it",
    ),
    "arctan2": (r"b, 2\)|-a, 1\)|-a, -2\)", "a finite number over infinity is 0, and over NaN is NaN, whichever it is"),
    r"(log|log2|log10|sqrt) \(complex\)": (
        r"- 0\.0\)",
        "the sign of a zero is that of a branch, which the value chose",
    ),
    "copysign": (r"sign\(a\) / copysign", "to divide by 1 or -1 is to multiply by it"),
    "power|float_power|power_with_poles": (r"where\(b == 0, 2,", "0 times 0, to whatever power"),
    "power_by_.*": ("d/db: 1", "taken only where the exponent has no derivative"),
    "unwrap": ("ignores", "the derivative is the identity, wherever the jumps are"),
    "nan_to_num": ("ignores", "the derivative is zero where a value was replaced, whatever by"),
    "sort|partition|unique|unique_values": ("careful", "they move elements, and multiply by nothing"),
    "(nan)?(mean|sum|prod|cumprod|var|std)": ("ignores dtype", "the walk brings results to the dtype of their node"),
    "(nan|f)?(max|min)(_reduce)?|prod|sum|(nan)?(var|std|median)|norm|logsumexp|.*quantile|.*percentile": (
        "pulls: ignores keepdims",
        "the shape of the operand says where the lengths of 1 belong",
    ),
    "(nan)?(median|quantile|percentile)": (
        "push: ignores keepdims",
        "one tangent for each result, which the walk brings to the shape of its node",
    ),
    "sum": ("ignores initial", "it adds a constant"),
    "einsum": ("ignores optimize", "it says how to compute, not what"),
    "lstsq|pinv": ("ignores r", "it decided the value, from which the derivative is computed"),
    "round": ("ignores", "there is no derivative to compute"),
}


def is_equivalent(mutant: Mutant) -> bool:
    names = mutant.rule, mutant.rule.split(" (")[0]
    return any(
        any(re.fullmatch(rule, name) for name in names) and re.search(what, mutant.what)
        for rule, (what, _) in EQUIVALENT.items()
    )


# -- the rules, by name ------------------------------------------------------------------------------------------
def named_rules() -> dict[str, Rule]:
    """Every rule that there is, also those for complex operands and for Python's operators."""
    found = dict(rules)
    for function, rule in functions.items():
        if isinstance(rule, Rule) and rule not in found.values():
            found[getattr(function, "__name__", rule.name)] = rule
    found["power (operator)"] = cr.Tensor.__pow__.__defaults__[0]
    for name, rule in list(found.items()):
        if rule.complex_rule is not None and rule.complex_rule not in found.values() and takes_complex(rule):
            found[f"{name} (complex)"] = rule.complex_rule
    return dict(sorted(found.items()))


def takes_complex(rule: Rule) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            rule.value(*[np.array([0.5 + 0.1j])] * len(rule.partials))
        except (TypeError, np.exceptions.ComplexWarning):
            return False
    return True


def forget(rule: Rule) -> None:
    """Drop what was made of a rule, so that it is made again from what the rule says now."""
    for field in FIELDS:
        setattr(rule, field, None)
    rule.keeps.clear()
    _partial_trees.cache_clear()
    bound = tuple(vars(cr.Tensor).values())
    if any(rule in (getattr(function, "__defaults__", None) or ()) for function in bound):
        operators._print(rule, bound)


def set_fields(rule: Rule, **fields: Any) -> Callable[[], None]:
    def apply() -> None:
        for field, value in fields.items():
            setattr(rule, field, value)
        forget(rule)

    return apply


# -- formulas ------------------------------------------------------------------------------------------------------
def rewritten(formula: str) -> Iterator[tuple[str, str]]:
    """Every formula that differs from this one in one place, and what to call it."""
    if formula == "0":
        yield "1 instead of 0", "1"
        return
    yield "sign", f"-({formula})"
    yield "factor 1.001", f"1.001*({formula})"
    yield "0 instead of it", "0"
    tree = ast.parse(formula, mode="eval")
    for place, node in enumerate(ast.walk(tree)):
        for changed in changes(node):
            new = copy.deepcopy(tree)
            old = list(ast.walk(new))[place]
            for parent in ast.walk(new):
                for field, value in ast.iter_fields(parent):
                    if value is old:
                        setattr(parent, field, changed)
                    elif isinstance(value, list) and old in value:
                        value[value.index(old)] = changed
            yield ast.unparse(new), ast.unparse(new)


def changes(node: ast.AST) -> Iterator[ast.expr]:
    """What a part of a formula may be mistaken for."""
    swapped = {
        ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
        ast.Eq: ast.NotEq, ast.Gt: ast.GtE,
    }  # fmt: skip
    match node:
        case ast.Constant(value=int() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(value=float() as value):
            yield ast.Constant(value * 1.001 or 0.001)
        case ast.BinOp(left, op, right) if type(op) in swapped:
            yield ast.BinOp(left, swapped[type(op)](), right)
        case ast.Compare(left, [op], right) if type(op) in swapped:
            yield ast.Compare(left, [swapped[type(op)]()], right)
        case ast.Call(ast.Name("where"), [_, chosen, other]):
            yield chosen
            yield other
        case ast.UnaryOp(ast.USub(), operand):
            yield operand


def is_complex(rule: Rule, position: int) -> bool:
    """Whether a partial has an imaginary part somewhere: only then does conjugating it change it."""
    points = [np.array([0.5 + 0.1j, -0.4 + 2j]) * (i + 1) for i in range(len(rule.partials))]
    values = dict(zip(LETTERS, points, strict=False)) | {"y": rule.value(*points)}
    names = {name: r.value for name, r in rules.items() if name in rule.partials[position]}
    return bool(np.any(np.imag(eval(rule.partials[position], names | values))))


def may_be_infinite(rule: Rule, position: int) -> bool:
    """Whether a partial is infinite or NaN somewhere: only then are its careful forms other ones."""
    edges = np.array([0.0, -0.0, 1.0, -1.0, 2.0, 0.3, np.inf, -np.inf, np.nan, 1e308, -1e308, 1e-320])
    grids = [np.ravel(g) for g in np.meshgrid(*[edges] * len(rule.partials))]
    with np.errstate(all="ignore"):
        values = dict(zip(LETTERS, grids, strict=False)) | {"y": rule.value(*grids)}
        names = {name: r.value for name, r in rules.items() if name in rule.partials[position]}
        return not np.all(np.isfinite(eval(rule.partials[position], names | values)))


def of_formulas(name: str, rule: Rule) -> Iterator[Mutant]:
    needs = [printing.formula.names(tree) for tree in partial_trees(rule)]
    # Operators and ufuncs of two operands keep what the rule for real operands reads.
    own_needs = len(needs) != 2 or not rule.conjugate
    for i, partial in enumerate(rule.partials):
        which = f"d/d{LETTERS[i]}"
        for what, text in rewritten(partial):
            texts = (*rule.partials[:i], text, *rule.partials[i + 1 :])
            yield Mutant(name, "elementwise", f"{which}: {what}", FIELDS, set_fields(rule, partials=texts))
        for letter in sorted(needs[i]) if own_needs else ():
            less = (*needs[:i], needs[i] - {letter}, *needs[i + 1 :])
            yield Mutant(name, "elementwise", f"{which}: {letter} not kept", FIELDS, set_fields(rule, needs=less))
    if any(may_be_infinite(rule, i) for i in range(len(rule.partials)) if needs[i]):
        plainly = {
            "careful_pull": lambda: printing.pull_function(rule, "pull", accumulate),
            "careful_forward": lambda: printing.push_function(rule, False),
        }
        for field, make in plainly.items():
            yield Mutant(name, "elementwise", f"{field} is careless", (field,), later(rule, field, make))
    if rule.conjugate and any(is_complex(rule, i) for i in range(len(needs)) if needs[i]):
        yield Mutant(name, "elementwise", "conjugation dropped", FIELDS, set_fields(rule, conjugate=False))


def later(rule: Rule, field: str, make: Callable[[], Any]) -> Callable[[], None]:
    return lambda: setattr(rule, field, make())


# -- rules that are functions --------------------------------------------------------------------------------------
changed_something = False  # whether a corrupted function gave anything to corrupt


def corrupted(value: Any) -> Any:
    global changed_something
    changed_something = True
    return value


def scaled(function: Any, factor: float = 1.001) -> Callable[..., Any]:
    """The same function, a little too large."""

    def run(*args: Any) -> Any:
        result = function(*args)
        return None if result is None else corrupted(result * factor)

    return run


def one_scaled(function: Any, position: int) -> Callable[..., Any]:
    """The same function, one of its results a little too large."""

    def run(*args: Any) -> Any:
        result = list(function(*args))
        if position < len(result) and result[position] is not None:
            result[position] = corrupted(result[position] * 1.001)
        return result

    return run


def ones(position: int) -> Callable[..., Any]:
    return lambda ct, node: corrupted(np.ones(node.operands[position].shape))


def forgetful(function: Any, position: int) -> Callable[..., Any]:
    """A push that takes the tangent of one operand for zero."""

    def run(node: Any, tangents: Any) -> Any:
        less = [None if i == position else t for i, t in enumerate(tangents)]
        return None if all(t is None for t in less) else function(node, less)

    return run


def read_parameters(function: Any) -> list[str]:
    """The arguments after the cotangent and the operand that a transpose reads, and that can be left out."""
    loaded = {i.argval for i in dis.get_instructions(function) if i.opname.startswith(("LOAD_FAST", "LOAD_DEREF"))}
    loaded |= {name for i in dis.get_instructions(function) if isinstance(i.argval, tuple) for name in i.argval}
    parameters = list(inspect.signature(function).parameters.values())[2:]
    return [p.name for p in parameters if p.name in loaded and (p.default is not p.empty or p.name == "axis")]


def ignoring(transpose: Any, name: str) -> Callable[..., Any]:
    """A transpose that takes an argument for its default; an axis without one for the first."""
    parameters = list(inspect.signature(transpose).parameters.values())[2:]
    default = next(p.default for p in parameters if p.name == name)

    def pull(ct: Any, node: Any) -> Any:
        rest, options = node.params or ((), {})
        given = dict(zip((p.name for p in parameters), rest, strict=False)) | options
        given[name] = 0 if default is inspect.Parameter.empty else default
        return transpose(ct, node.operands[0], **given)

    return pull


def with_pull(rule: Rule, position: int, pull: Any) -> Callable[[], None]:
    """Corrupt one pull, in its careful form too."""
    pulls = (*rule.pulls[:position], pull(rule.pulls[position]), *rule.pulls[position + 1 :])
    careful = rule.careful_pulls
    if careful:
        careful = (*careful[:position], pull(careful[position]), *careful[position + 1 :])
    return set_fields(rule, pulls=pulls, careful_pulls=careful, **({"add_into": None} if rule.add_into else {}))


def without_option(function: Any, option: str) -> Callable[..., Any]:
    """A pull or push that does not know of an option that the operation was called with."""

    def run(*args: Any) -> Any:
        at = next(i for i, arg in enumerate(args) if isinstance(arg, Node))
        node = copy.copy(args[at])
        rest, options = node.params
        node.params = (rest, {name: value for name, value in options.items() if name != option})
        return function(*args[:at], node, *args[at + 1 :])

    return run


def of_options(name: str, rule: Rule, options: set[str]) -> Iterator[Mutant]:
    for option in sorted(options):
        for field, uses in (("pulls", PULLS), ("pull_all", PULLS), ("push", PUSHES)):
            fields = {}
            for form in (field, f"careful_{field}"):
                functions = getattr(rule, form, None)
                if isinstance(functions, tuple):
                    fields[form] = tuple(f and without_option(f, option) for f in functions)
                elif functions is not None:
                    fields[form] = without_option(functions, option)
            if any(fields.values()):
                yield Mutant(name, "custom", f"{field}: ignores {option}", uses, set_fields(rule, **fields))


def of_functions(name: str, rule: Rule) -> Iterator[Mutant]:
    pull, push = PULLS, PUSHES
    kind = "linear" if rule.kind == "linear" else "custom"
    for i, function in enumerate(rule.pulls):
        which = f"pull {i}"
        if function is None:
            yield Mutant(name, kind, f"{which}: not None", pull, with_pull(rule, i, lambda _, i=i: ones(i)), True)
            continue
        for factor in (1.001, -1, 0):
            changed = with_pull(rule, i, lambda f, factor=factor: scaled(f, factor))
            yield Mutant(name, kind, f"{which}: times {factor}", pull, changed)
        inside = inspect.getclosurevars(function).nonlocals if kind == "linear" and inspect.isfunction(function) else {}
        if "transpose" in inside:
            transpose = inside["transpose"]
            for parameter in read_parameters(transpose):
                changed = with_pull(rule, i, lambda _, t=transpose, p=parameter: ignoring(t, p))
                yield Mutant(name, kind, f"{which}: ignores {parameter}", pull, changed)
    if rule.add_into is not None:
        add_into = rule.add_into

        def too_much(total: Any, ct: Any, *rest: Any, **options: Any) -> None:
            add_into(total, 1.001 * ct, *rest, **options)

        yield Mutant(name, kind, "add_into: times 1.001", pull, set_fields(rule, add_into=too_much))
    if rule.pull_all is not None:
        for i in range(3):
            changed = set_fields(rule, pull_all=one_scaled(rule.pull_all, i))
            yield Mutant(name, kind, f"pull {i}: times 1.001", pull, changed, True)
    if len(rule.pulls) > 1 and None not in rule.pulls:
        swapped = set_fields(rule, pulls=rule.pulls[::-1], careful_pulls=rule.careful_pulls[::-1])
        yield Mutant(name, kind, "pulls swapped", pull, swapped)
    function = rule.push or (printing.linear_push if rule.kind == "linear" else None)
    if function is not None and rule.pulls and not any(rule.pulls):
        yield Mutant(name, kind, "push: not None", push, set_fields(rule, push=lambda node, tangents: tangents[0]))
    elif function is not None:
        careful = rule.careful_push
        for factor in (1.001, 0):
            fields = {"push": scaled(function, factor), "careful_push": careful and scaled(careful, factor)}
            yield Mutant(name, kind, f"push: times {factor}", push, set_fields(rule, **fields))
        for i in range(len(rule.pulls) if len(rule.pulls) > 1 else 2 if rule.pull_all else 0):
            if rule.pull_all or rule.pulls[i] is not None:
                fields = {"push": forgetful(function, i), "careful_push": careful and forgetful(careful, i)}
                yield Mutant(name, kind, f"push: ignores tangent {i}", push, set_fields(rule, **fields))
    for i, letters in enumerate(rule.needs):
        for letter in sorted(letters):
            less = (*rule.needs[:i], letters - {letter}, *rule.needs[i + 1 :])
            both = pull + push
            yield Mutant(name, kind, f"pull {i}: {letter} not kept", both, set_fields(rule, needs=less))
    if rule.careful_pulls:
        yield Mutant(name, kind, "careful pulls are careless", ("careful_pull",), set_fields(rule, careful_pulls=()))
    if rule.careful_push:
        yield Mutant(name, kind, "careful push is careless", push[1:], set_fields(rule, careful_push=None))


def of_steps(name: str, rule: Rule) -> Iterator[Mutant]:
    """A function without derivative that is taken to have one."""
    fields = {
        "kind": "custom",
        "pulls": (ones(0),),
        "needs": (frozenset(),),
        "push": lambda node, tangents: tangents[0],
    }
    yield Mutant(name, "nondifferentiable", "has a derivative", ("mentioned",), set_fields(rule, **fields))


def mutants(name: str, rule: Rule, options: set[str]) -> Iterator[Mutant]:
    if rule.partials:
        yield from of_formulas(name, rule)
    elif rule.kind == "nondifferentiable":
        yield from of_steps(name, rule)
    else:
        yield from of_functions(name, rule)
        if rule.kind == "custom":
            yield from of_options(name, rule, options)


# -- running tests -------------------------------------------------------------------------------------------------
class Audit:
    """A plugin of pytest: collects the tests, and runs them over and over in processes of their own."""

    def __init__(self, wanted: list[str]) -> None:
        self.wanted = wanted
        self.survivors = 0
        self.options: dict[str, set[str]] = defaultdict(set)  # that operations were called with
        self.rules = named_rules()  # before tests are collected, which register some of their own

    def pytest_configure(self) -> None:
        from hypothesis import Phase, settings  # not before pytest has seen it

        settings.register_profile("audit", phases=[Phase.explicit, Phase.generate])  # a failure need not be made small
        settings.load_profile("audit")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = session.items
        started = time.monotonic()
        say(f"{len(self.items)} tests, {len(self.rules)} rules: which test uses which rule?")
        self.used = self.uses()
        say(f"noted in {time.monotonic() - started:.0f} s")
        todo = [
            mutant
            for name, rule in self.rules.items()
            if not self.wanted or {name.split(" (")[0], rule.kind} & set(self.wanted)
            for mutant in mutants(name, rule, self.options[name])
            if not is_equivalent(mutant)
        ]
        results = self.run(todo)
        self.report(todo, results)
        say(f"{len(todo)} mutants in {time.monotonic() - started:.0f} s")
        return True

    def uses(self) -> dict[tuple[str, str], list[tuple[float, int]]]:
        """Per rule and function of it, the tests that had it made, with their durations."""
        found: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
        failed = []
        with tempfile.TemporaryDirectory() as folder:
            waiting = {fork(lambda w=w: self.note(w, Path(folder, str(w)))): w for w in range(WORKERS)}
            for pid, worker in waiting.items():
                os.waitpid(pid, 0)
                tests, options = pickle.loads(Path(folder, str(worker)).read_bytes())
                for name in options:
                    self.options[name] |= options[name]
                for index, seconds, passed, keys in tests:
                    if not passed:
                        failed.append(self.items[index].nodeid)
                    for key in keys if passed else ():
                        found[key].append((seconds, index))
        for nodeid in failed:
            say(f"left out, because it fails without any mutant: {nodeid}")
        for index, item in enumerate(self.items):
            words = set(re.findall(r"\w+", item.nodeid + inspect.getsource(item.function)))
            for name in words & self.rules.keys():
                found[name, "mentioned"].append((0.0, index))
        return found

    def note(self, worker: int, file: Path) -> int:
        noted = []
        names = {id(rule): name for name, rule in self.rules.items()}
        make = tensor.made

        def noting(rule: Rule, nodes: Any, active: int, values: Any, value: Any, params: Any, *more: Any) -> Any:
            self.options[names.get(id(rule), rule.name)] |= params[1].keys()
            return make(rule, nodes, active, values, value, params, *more)

        tensor.made = noting
        for index in range(worker, len(self.items), WORKERS):
            for rule in self.rules.values():
                for field in FIELDS:
                    setattr(rule, field, None)
            started = time.monotonic()
            passed = self.passes(self.items[index])
            keys = [
                (n, field) for n, rule in self.rules.items() for field in FIELDS if getattr(rule, field) is not None
            ]
            noted.append((index, time.monotonic() - started, passed, keys))
        file.write_bytes(pickle.dumps((noted, dict(self.options))))
        return 0

    def chosen(self, mutant: Mutant) -> list[Any]:
        """The tests that may notice: those named after the rule first, then the fast ones."""
        seconds: dict[int, float] = {}
        for field in mutant.uses:
            seconds |= {index: s for s, index in self.used[mutant.rule, field]}
        word = re.compile(rf"\b{re.escape(mutant.rule.split(' (')[0])}\b")
        order = sorted(seconds, key=lambda i: (word.search(self.items[i].nodeid) is None, seconds[i]))
        return [self.items[i] for i in order]

    def run(self, todo: list[Mutant]) -> list[int]:
        results = [SURVIVED] * len(todo)
        running: dict[int, int] = {}
        for number, mutant in enumerate(todo):
            if len(running) == WORKERS:
                wait_for_one(running, results)
            running[fork(lambda mutant=mutant: self.judge(mutant))] = number
        while running:
            wait_for_one(running, results)
        return results

    def judge(self, mutant: Mutant) -> int:
        signal.alarm(SECONDS)
        mutant.apply()
        for item in self.chosen(mutant):
            if not self.passes(item):
                return CAUGHT
        return NEVER_RUN if mutant.may_be_idle and not changed_something else SURVIVED

    def passes(self, item: Any) -> bool:
        self.failed = False
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return not self.failed

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed |= not report.passed

    def report(self, todo: list[Mutant], results: list[int]) -> None:
        for kind in ("elementwise", "linear", "custom", "nondifferentiable"):
            of_kind = [(mutant, result) for mutant, result in zip(todo, results, strict=True) if mutant.kind == kind]
            total = sum(result != NEVER_RUN for _, result in of_kind)
            alive = [mutant for mutant, result in of_kind if result == SURVIVED]
            say(f"{kind}: {total - len(alive)} of {total} mutants caught")
            for mutant in alive:
                say(f"  {mutant.rule}: {mutant.what}")
            self.survivors += len(alive)


def fork(work: Callable[[], int]) -> int:
    """Run `work` in a copy of this process, silently; its result is the copy's exit status."""
    pid = os.fork()
    if pid:
        return pid
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    code = 99
    try:
        code = work()
    finally:
        os._exit(code)


def wait_for_one(running: dict[int, int], results: list[int]) -> None:
    pid, status = os.wait()
    code = os.waitstatus_to_exitcode(status)
    assert code != 99, "a mutant could not be made"
    results[running.pop(pid)] = code if code in (SURVIVED, NEVER_RUN) else CAUGHT


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    audit = Audit(words[:split])
    files = [str(HERE / f"test_{name}.py") for name in ABOUT_RULES]
    status = pytest.main(["-q", "-s", "-p", "no:cacheprovider", *(words[split + 1 :] or files)], plugins=[audit])
    return int(status) or int(audit.survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
