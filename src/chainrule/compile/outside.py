"""What a function reads from outside: globals, closures, defaults, and what hangs on them.

A walk over all of it, before the function runs, gives places, each with the object that lies there.  They are used
three times: a program checks that the same objects lie there; while tracing, what is traced lies there instead of
arrays, so that what plain NumPy does with them is written down, too; and after the run a look at them shows what the
function has changed.  What lies in such a place is an input of the next program, which is read as a call begins, like
an argument, and, if it is another one then, a result, which is put there as the call ends.
"""

from __future__ import annotations

import dis
import functools
import gc
import io
import sys
import sysconfig
from array import array
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from enum import Enum
from types import CellType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any
from weakref import ReferenceType

import numpy as np

from ..errors import UntraceableError, is_ours
from ..graph import Node, contexts, watchers
from ..record import only_constant
from ..rules.registry import Rule
from ..tensor import Tensor
from ..tree import flatten
from .inputs import PLAIN, carried, enters, is_input, is_written, same
from .names import Names
from .program import is_fixed
from .trace import Trace
from .traced import FOLLOWED, value_of

__all__ = ["CAPTURES", "Outside", "Place", "holds_traced", "is_installed", "plain", "taken_apart"]

ndarray = np.ndarray
CAPTURES = 2000  # things that a function may read from outside
NOTHING = object()
SETTING: set[Any] = {kind.__setattr__ for kind in (object, type, FunctionType, CellType, ModuleType)}
NAMESPACES = {"types.SimpleNamespace", "argparse.Namespace", "_thread._local"}
NAMESPACES |= {"weakref.WeakKeyDictionary", "weakref.WeakValueDictionary", "_weakrefset.WeakSet"}
NAMESPACES |= {"collections.UserDict", "collections.UserList", "collections.ChainMap"}
CONTAINERS = (dict, list, tuple, deque, set)
LIKE_ARRAYS = (array, bytearray)
CACHE = type(functools.cache(len))
LOADING = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
BY_MODULE = {"import_module", "__import__", "modules"}  # what finds a module whose name is a text
BY_NAME = {"getattr", "hasattr", "attrgetter", "vars"}  # what reads an attribute whose name is a text


class Place:
    """Where something lies.

    Attributes
    ----------
    holder, key : the object, and the attribute or the key in it
    text, told : how to write it, in Python and in words
    value : what lay there when the function was looked at
    entered : what stands for its leaves while the function is traced, if it is an input
    standing : what stands there while the function is traced; otherwise `NOTHING`
    """

    __slots__ = ("entered", "holder", "key", "standing", "text", "told", "value")

    def __init__(self, holder: Any, key: Any, value: Any, text: str, told: str) -> None:
        self.holder, self.key, self.value, self.text, self.told = holder, key, value, text, told
        self.standing: Any = NOTHING
        self.entered: list[Any] = []

    @property
    def where(self) -> tuple[int, Any]:
        """The same for the same place in another walk, as long as its holder is there."""
        return id(self.holder), self.key

    def read(self) -> Any:
        """What lies there now."""
        try:
            if isinstance(self.holder, dict):
                return _inherited(self.holder, "get")(self.key, NOTHING)
            if isinstance(self.holder, list | tuple | deque | ndarray):
                return _inherited(self.holder, "__getitem__")(self.key)
            return vars(self.holder)[self.key] if isinstance(self.holder, type) else getattr(self.holder, self.key)
        except (AttributeError, LookupError, ValueError):
            return NOTHING

    def holds(self, now: Any) -> bool:
        """Whether what lies there now is what lay there when the function was looked at."""
        return now is self.value or same(now, self.value)

    def write(self, value: Any) -> None:
        """Put something there."""
        if isinstance(self.holder, dict | list | deque | ndarray):
            _inherited(self.holder, "__setitem__")(self.key, value)
        elif isinstance(self.holder, functools.partial):
            state = self.holder.func, value, self.holder.keywords, self.holder.__dict__
            self.holder.__setstate__(state)  # type: ignore[attr-defined]
        elif isinstance(self.holder, type | FunctionType | CellType | ModuleType):
            setattr(self.holder, self.key, value)
        else:  # of what cannot be changed otherwise, too
            object.__setattr__(self.holder, self.key, value)

    def written(self, given: Names, text: str) -> str:
        """How to write in Python that something is put there."""
        holder = given.given(self.holder, "read")
        if isinstance(self.holder, dict | list | deque | ndarray):
            key = repr(self.key) if isinstance(self.key, int | str) else given.given(self.key, "key")
            if is_installed(type(self.holder).__module__):
                return f"{holder}[{key}] = {text}"
            return f"{given.given(_inherited(self.holder, '__setitem__'), 'set_item')}({key}, {text})"
        if type(self.holder).__setattr__ in SETTING:
            return f"{holder}.{self.key} = {text}"
        return f"{given.given(object.__setattr__, 'set_attribute')}({holder}, {self.key!r}, {text})"

    # -- as an input, and a result -------------------------------------------------------------------------------------
    def enter(self, trace: Trace) -> None:
        """Let stand there what stands for an input."""
        leaves, rebuild, _ = flatten(self.value)
        self.entered = [carried(trace, leaf) for leaf in leaves]
        self.standing = rebuild(self.entered)
        self.write(self.standing)

    def result(self) -> tuple[list[Any], Callable[[list[Any]], Any]] | None:
        """Leaves of what the function has put there, and what makes it of them; None if it has put nothing there."""
        now = self.read()
        if now is not self.standing:
            return taken_apart(now)
        if any(new is not old for new, old in zip(flatten(now)[0], self.entered, strict=True)):
            raise UntraceableError(f"it changes what is in {self.told}; let it put a new container there")
        return None


class Outside:
    """What a function, and other things, read from outside.

    Parameters
    ----------
    roots : the function; arguments that are part of the program
    given : names for the objects in `lines`
    changing : the places whose content is an input, by `Place.where`; where generators lie is always one

    Attributes
    ----------
    places : list of Place
    inputs : those of them whose content is an input
    lines : of the program: go away if something else lies there
    names : that the code uses
    newest : the number of the newest node among them; 0 if there is none
    builtins : those of them that are looked up as Python's own
    compares : whether it asks which of two things it has, by `is`
    caches : what `functools.cache` made of functions
    """

    def __init__(self, roots: list[Any], given: Names, changing: Container[tuple[int, Any]]) -> None:
        self.given, self._changing = given, changing
        self.places: list[Place] = []
        self.inputs: list[Place] = []
        self.lines: list[str] = []
        self._contents: list[tuple[Any, str, Any]] = []  # containers, whose they are, and a copy
        self._seen: dict[int, Any] = {}
        self._waiting: list[Any] = []
        self.names: set[str] = set()
        self.newest = 0
        self._classes: set[type] = set()
        self._by_name: list[tuple[Any, set[str]]] = []  # what is read by the names in the code, and those looked at
        self._missing: dict[int, tuple[FunctionType, set[str]]] = {}  # globals that are not there
        self._installed: list[Any] = []  # objects of libraries
        self._states: list[tuple[Any, tuple[str, ...], Any]] = []  # what they had, by name
        self.builtins: set[str] = set()
        self.compares = False
        self.caches: list[Any] = []
        given.fixed(same=same)
        for x in roots:
            self._visit(x)
        while self._waiting:
            for x in self._waiting:  # grows as it goes
                self._look(x)
            self._waiting = []
            if not self.names.isdisjoint(BY_NAME):
                self.names |= {x for x in self._seen.values() if type(x) is str}
            computed = not self.names.isdisjoint(BY_NAME)
            for x, known in self._by_name:
                named = vars(x).keys() if computed and isinstance(x, type) else self.names
                for name in sorted((named - known) & vars(x).keys()):
                    text = f"{self._text(x)}.__dict__.get({name!r})"
                    owner = getattr(x, "__name__", f"a {type(x).__name__}")
                    self._place(x, name, vars(x)[name], text, f"{name!r} of {owner}")
                known |= named
        self._check_what_is_missing()
        self._check_what_is_installed()
        if self.newest:
            self.lines.insert(0, self._recorded())
        if self.lines:
            self.lines = [
                "try:",
                *("    " + line for line in self.lines),
                "except (AttributeError, LookupError, ValueError):",
                "    return None",
            ]

    def _recorded(self) -> str:
        """Check whether operations on the Tensors that are read are recorded, or `no_grad` makes them constants."""
        self.given.fixed(watchers=watchers, only_constant=only_constant)
        if not contexts.stack:
            return "if watchers and contexts.stack: return None"
        if not only_constant(self.newest):
            raise UntraceableError(
                "it reads Tensors that were made inside of this no_grad(), and are no constants there"
            )
        return f"if not only_constant({self.newest}): return None"

    def _check_what_is_missing(self) -> None:
        """A global that was not there hides what is Python's own, or the error that there is none."""
        for f, names in self._missing.values():
            if names:
                known, own = self._text(tuple(sorted(names))), self._text(_builtins_of(f))
                self.lines.append(f"if not {self._text(f.__globals__)}.keys().isdisjoint({known}): return None")
                there = [*map(_builtins_of(f).get, sorted(names))]
                self.lines.append(f"if [*map({own}.get, {known})] != {self._text(there)}: return None")

    def _check_what_is_installed(self) -> None:
        """Of objects of libraries the attributes are checked, and how much is in them, not what lies further inside."""
        read = {place.where for place in self.places}
        for x in self._installed:
            names = tuple(name for name in vars(x) if (id(x), name) not in read)
            state = _state(vars(x), names)
            text = f"{self._text(x)}.__dict__, {self._text(names)}, {self._text(state)}"
            self.lines.append(f"if {self.given.given(has_changed, 'has_changed')}({text}): return None")
            self._states.append((x, names, state))

    # -- the walk ------------------------------------------------------------------------------------------------------
    def _text(self, x: Any) -> str:
        return self.given.given(x, "read")

    def _visit(self, x: Any) -> None:
        if id(x) not in self._seen:
            self._seen[id(x)] = x
            self._waiting.append(x)

    def _place(self, holder: Any, key: Any, value: Any, text: str, told: str) -> None:
        """Something that is read."""
        if isinstance(value, ModuleType) and _is_foreign(value.__name__):
            return
        if len(self._seen) > CAPTURES:
            raise UntraceableError(f"it reads more than {CAPTURES} things from outside, which are too many to check")
        place = Place(holder, key, value, text, told)
        self.places.append(place)
        if isinstance(value, np.random.Generator) or place.where in self._changing:
            self.inputs.append(place)
            return
        known = self.given.given(value, key if isinstance(key, str) and key.isidentifier() else "read")
        if type(value) in PLAIN:
            self.lines.append(f"if {text} is not {known} and not same({text}, {known}): return None")
        else:
            self.lines.append(f"if {text} is not {known}: return None")
        self._visit(value)

    def _attributes(self, x: Any, *names: str) -> None:
        for name in names:
            text, told = f"{self._text(x)}.{name}", f"{name!r} of a {type(x).__name__}"
            self._place(x, name, getattr(x, name), text, told)

    def _container(self, x: Any, text: str, owner: str) -> None:
        copied: Any
        if isinstance(x, dict):
            form, copied = f"[*{text}] != {self._text([*x])}", dict(x)
            names = [repr(key) if isinstance(key, str | int) else self._text(key) for key in x]
            parts = [(*pair, f"{text}.get({name})") for pair, name in zip(x.items(), names, strict=True)]
        elif isinstance(x, set):
            form, copied, parts = f"{text} != {self._text(set(x))}", set(x), []
        else:
            form, copied = f"len({text}) != {len(x)}", list(x)
            parts = [(i, part, f"{text}[{i}]") for i, part in enumerate(x)]
        self.lines.append(f"if {form}: return None")
        if not isinstance(x, tuple):
            self._contents.append((x, owner, copied))
        for key, part, written in parts:
            self._place(x, key, part, written, f"{key!r} of {owner}" if isinstance(x, dict) else owner)

    def _array(self, x: Any) -> None:
        """An array; those of numbers are followed, of others the content is compared."""
        if type(x) is ndarray and x.dtype.hasobject and not x.dtype.names:
            self.lines.append(f"if {self._text(x)}.shape != {x.shape}: return None")
            for index in np.ndindex(x.shape):
                self._place(x, index, x[index], f"{self._text(x)}[{index}]", "an array of objects")
        elif type(x) not in (ndarray, np.memmap) or x.dtype.kind not in "biufc":
            written = f"{self.given.given(bytes_in, 'bytes_in')}({self._text(x)})"
            self.lines.append(f"if {written} != {self._text(bytes_in(x))}: return None")
        elif is_fixed(x):
            self.lines.append(f"if {self._text(x)}.flags.writeable: return None")

    def _look(self, x: Any) -> None:
        if isinstance(x, FunctionType):
            self._function(x)
        elif isinstance(x, MethodType):
            self._attributes(x, "__func__", "__self__")
        elif isinstance(x, functools.partial):
            self._attributes(x, "func", "args", "keywords")
            if x.__dict__:
                self._container(x.__dict__, f"{self._text(x)}.__dict__", "a partial")
        elif isinstance(x, property):
            for f in (x.fget, x.fset):
                self._visit(f)
        elif isinstance(x, staticmethod | classmethod):
            self._visit(x.__func__)
        elif isinstance(x, functools.cached_property):
            self._visit(x.func)
        elif isinstance(x, Tensor):
            if type(x) is Tensor:
                self._attributes(x, "data", "node")
        elif isinstance(x, Node):
            self.newest = max(self.newest, x.index)
            if x.rule is None and x.index:
                self._attributes(x, "grad")  # the rest of a leaf stays as it is, or is of a walk
        elif isinstance(x, (*CONTAINERS, ndarray)) or type(x) in LIKE_ARRAYS or _shows_memory(x):
            if isinstance(x, CONTAINERS):
                self._container(x, self._text(x), f"a {type(x).__name__}")
            else:
                self._array(x)
            if not is_installed(type(x).__module__):
                self._object(x)
        elif isinstance(x, CACHE):
            self.caches.append(x)
            self.lines.append(f"if {self._text(x)}.cache_info().misses < {x.cache_info().misses}: return None")
            self._visit(x.__wrapped__)
        elif isinstance(x, MappingProxyType):  # shows a dictionary
            for shown in gc.get_referents(x):
                self._visit(shown)
        elif isinstance(x, ReferenceType):
            self.lines.append(f"if {self._text(x)}() is not {self._text(x())}: return None")
            self._visit(x())
        elif isinstance(x, ContextVar):
            raise UntraceableError(f"it reads the context variable {x.name!r}, which may change: pass what it says")
        elif isinstance(x, ModuleType):
            self._by_name.append((x, set()))
        elif isinstance(x, type):
            if not _is_foreign(x.__module__):
                self._class(x)
        elif isinstance(x, Rule):
            return  # one step, which is what its operands make it
        elif hasattr(x, "f") and hasattr(x, "settings"):  # of a transform
            self._visit(x.f)
        elif hasattr(x, "__wrapped__") and is_ours(type(x).__module__):  # by jit
            self._visit(x.__wrapped__)
        elif _is_looked_into(type(x)):
            self._object(x)
        elif getattr(x, "__dict__", None):  # a library's
            self._by_name.append((x, set()))
            if type(x).__module__ != "numpy" and not callable(x):
                self._installed.append(x)

    def _function(self, f: FunctionType) -> None:
        if _is_foreign(f.__module__) and f.__globals__.get("__name__"):  # otherwise made by exec, in a dictionary
            return
        self._attributes(f, "__code__")
        if f.__defaults__:
            self._attributes(f, "__defaults__")
        if f.__kwdefaults__:
            self._attributes(f, "__kwdefaults__")
        names = _names_in(f.__code__)
        self.names |= names
        if not names.isdisjoint(BY_MODULE):
            for name in sys.modules.keys() & {*map(str, f.__code__.co_consts), f.__globals__.get("__name__")}:
                if not _is_foreign(name):
                    self._visit(sys.modules[name])
        loaded, imported, compares = _looked_up(f.__code__)
        missing = {name for name in loaded if name not in f.__globals__}
        self._missing.setdefault(id(f.__globals__), (f, set()))[1].update(missing)
        self.builtins |= missing
        self.compares |= compares
        for name in missing:  # that somebody has put there
            if isinstance(own := _builtins_of(f).get(name), FunctionType):
                self._visit(own)
        self._imports(f, imported)
        for name in sorted(names & f.__globals__.keys()):
            text = f"{self.given.given(f.__globals__, 'globals_')}[{name!r}]"
            self._place(f.__globals__, name, f.__globals__[name], text, f"the global {name!r}")
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            if _filled(cell):
                text = f"{self._text(cell)}.cell_contents"
                self._place(cell, "cell_contents", cell.cell_contents, text, f"{name!r} of the function around it")
            else:
                self.lines.append(f"if {self.given.given(_filled, 'filled')}({self._text(cell)}): return None")
        if f.__dict__:
            self._container(f.__dict__, f"{self._text(f)}.__dict__", "a function")

    def _imports(self, f: FunctionType, names: frozenset[str]) -> None:
        """Modules that a function imports as it runs."""
        packages = f.__globals__.get("__package__") or ""
        for name in sorted(names):
            parts = name.split(".")
            full = [".".join(parts[: i + 1]) for i in range(len(parts))] if name else []
            while packages and not (full and full[0] in sys.modules):  # relative to one of these
                full += [packages, f"{packages}.{name}"]
                packages = packages.rpartition(".")[0]
            for each in full:
                if not _is_foreign(each):
                    text = f"{self.given.given(sys.modules, 'modules')}.get({each!r})"
                    self.lines.append(f"if {text} is not {self._text(sys.modules.get(each))}: return None")
                    self._visit(sys.modules.get(each))

    def _class(self, kind: type) -> None:
        self.lines.append(f"if {self._text(kind)}.__mro__ is not {self._text(kind.__mro__)}: return None")
        metaclass: type = type(kind)
        for part in kind.__mro__ + metaclass.__mro__:
            if not _is_foreign(part.__module__) and part not in self._classes:
                self._classes.add(part)
                self._by_name.append((part, set()))
                self.names |= {name for name, f in vars(part).items() if _is_called_by_python(name, f)}

    def _object(self, x: Any) -> None:
        text = self._text(x)
        if (attributes := getattr(x, "__dict__", None)) is not None:
            self._container(attributes, f"{text}.__dict__", f"a {type(x).__name__}")
        self._attributes(x, *_slots_of(x))
        if not _is_foreign(type(x).__module__):
            self.lines.append(f"if {text}.__class__ is not {self._text(type(x))}: return None")
            self._visit(type(x))

    # -- while the function is traced ----------------------------------------------------------------------------------
    def stand_in(self, trace: Trace) -> None:
        """Let what is traced stand where something lies that may change."""
        trace.lying = self._lying
        for place in self.inputs:
            place.enter(trace)
        for place in self.places:
            other = _traced(trace, place.value, place.told) if place.standing is NOTHING else place.value
            if other is not place.value:
                with suppress(AttributeError, TypeError):
                    place.write(other)
                    place.standing = other

    def _lying(self) -> list[Any]:
        """What lies there now, and what is in containers."""
        return [place.read() for place in self.places] + [x for container, _, _ in self._contents for x in container]

    def arrays(self) -> list[Any]:
        """What arrays lie there that may change, besides inputs."""
        others = [place.value for place in self.places if place not in self.inputs]
        return [x for x in others if type(x) is ndarray and not is_fixed(x)]

    def put_back(self) -> tuple[str, list[Place]]:
        """Let lie there what lay there, or what the function has put there, with nothing traced left in it.

        Returns
        -------
        changed : what it has changed that no program will change; or ""
        found : the places that it has changed as a program can do, once what lies there is an input
        """
        changed, found = "", []
        others: list[tuple[Place, Any]] = []  # with what is there now
        for place in self.places:
            now, standing = place.read(), place.standing
            place.standing, place.entered = NOTHING, []
            if standing is not NOTHING and now is standing:
                place.write(place.value)
                if any(map(is_written, flatten(standing)[0])):
                    others.append((place, place.value))
            elif not place.holds(now):
                if (other := plain(now)) is not now:
                    place.write(other)
                others.append((place, other))
        for place, now in others:
            if place in self.inputs:
                continue
            if self._can_be_input(place, now):
                found.append(place)
            else:
                changed = changed or place.told
        for container, owner, before in self._contents:
            if _is_other(container, before):
                changed = changed or owner
                plain(container)
        for x, names, before in self._states:
            if has_changed(vars(x), names, before):
                changed = changed or f"a {type(x).__name__}"
        return changed, found

    def _can_be_input(self, place: Place, now: Any) -> bool:
        """Whether what lies in a place, and what the function has put there, can be an input and a result."""
        if now is NOTHING or not all(_is_leaf(leaf) for x in (place.value, now) for leaf in flatten(x)[0]):
            return False
        others = Counter(id(other.value) for other in self.places)
        return not isinstance(place.value, CONTAINERS) or others[id(place.value)] == 1

    def undo(self) -> None:
        """Let everything be as it was."""
        for container, _, before in self._contents:
            if _is_other(container, before):
                _inherited(container, "clear")()
                _inherited(container, "extend" if isinstance(container, list | deque) else "update")(before)
        for place in self.places:
            if not place.holds(place.read()):
                place.write(place.value)


def _builtins_of(f: Any) -> dict[str, Any]:
    """What names mean in a function that are no globals."""
    builtins: dict[str, Any] = f.__builtins__
    return builtins


def _is_leaf(x: Any) -> bool:
    return isinstance(x, (*PLAIN, Enum)) or (is_input(x) and enters(x))


def _inherited(container: Any, method: str) -> Any:
    """A method of a container as Python or a library has it: that of a user's class may do more."""
    kind = next(kind for kind in type(container).__mro__ if is_installed(kind.__module__))
    return functools.partial(getattr(kind, method), container)


def _is_other(container: Any, before: Any) -> bool:
    """Whether a container has other keys, or another length."""
    if isinstance(container, dict):
        return [*container] != [*before]
    return container != before if isinstance(container, set) else len(container) != len(before)


def _with_parts(x: Any, parts: list[Any]) -> Any:
    """A tuple of these parts, named as those of `x` are; `x` itself if they are its own."""
    if all(new is old for new, old in zip(parts, x, strict=True)):
        return x
    return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)


class Taken:
    """Stands for an iterator: a program would take nothing from it."""

    def __init__(self, trace: Trace, told: str) -> None:
        self._trace, self._why = trace, f"it takes from an iterator, {told}: pass what it gives"

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        self._trace.fail(self._why)
        raise UntraceableError(self._why)


def _traced(trace: Trace, x: Any, told: str) -> Any:
    """What stands for what may change: arrays, also inside of tuples, and iterators; otherwise the thing itself."""
    if type(x) in (ndarray, np.memmap):
        return x if x.dtype.kind not in "biufc" or is_fixed(x) else trace.from_outside(x)
    if isinstance(x, tuple) and (type(x) is tuple or hasattr(x, "_fields")):
        return _with_parts(x, [_traced(trace, part, told) for part in x])
    if isinstance(x, Iterator) and not isinstance(x, io.IOBase):
        return Taken(trace, told)
    return x


def holds_traced(x: Any) -> bool:
    """Whether there is something traced in an object; its value is there then."""
    found: list[Any] = []
    _plain(x, set(), found)
    return bool(found)


def taken_apart(x: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The leaves of what a function has made, and what makes the same of others, whatever becomes of the thing."""
    leaves, rebuild, _ = flatten(x)
    return leaves, flatten(plain(rebuild([...] * len(leaves))))[1]


def plain(x: Any) -> Any:
    """The same with values for what was traced."""
    return _plain(x, set(), [])


def _plain(x: Any, seen: set[int], found: list[Any]) -> Any:
    """The same with values for what was traced, which is added to `found`; what can be changed is."""
    if isinstance(x, FOLLOWED):
        found.append(x)
        return value_of(x)
    if id(x) in seen:
        return x
    seen.add(id(x))
    if isinstance(x, tuple) and (type(x) is tuple or hasattr(x, "_fields")):
        parts = [_plain(part, seen, found) for part in x]
        return _with_parts(x, parts)
    if isinstance(x, dict | list | deque):
        for key, part in [*(x.items() if isinstance(x, dict) else enumerate(x))]:
            if (other := _plain(part, seen, found)) is not part:
                _inherited(x, "__setitem__")(key, other)
    if isinstance(x, dict | set) and any(isinstance(key, FOLLOWED) for key in x):
        items = [_plain(key, seen, found) for key in x]
        content = items if isinstance(x, set) else [*zip(items, x.values(), strict=True)]
        _inherited(x, "clear")()
        _inherited(x, "update")(content)
    elif type(x) is Tensor:
        x.data = _plain(x.data, seen, found)
    elif not isinstance(x, type | ModuleType | FunctionType) and _is_looked_into(type(x)):
        _plain(getattr(x, "__dict__", None), seen, found)
        for name in _slots_of(x):
            if (other := _plain(part := getattr(x, name), seen, found)) is not part:
                object.__setattr__(x, name, other)
    return x


def _slots_of(x: Any) -> Iterator[str]:
    """The slots of an object in which there is something."""
    for kind in type(x).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name.startswith("__") and not name.endswith("__"):  # a private one
                name = f"_{kind.__name__.lstrip('_')}{name}"
            if not name.startswith("__") and hasattr(x, name):
                yield name


def _is_looked_into(kind: type) -> bool:
    """Whether what hangs on objects of a class is looked at: it is no library's, or only a namespace."""
    return not is_installed(kind.__module__) or f"{kind.__module__}.{kind.__name__}" in NAMESPACES


@functools.cache
def is_installed(module: str | None) -> bool:
    """Whether a module is a library's, which does not change between two calls: Python's own or an installed one."""
    name = (module or "").partition(".")[0]
    if name in ("chainrule", "__main__", ""):  # models are ours, and hold the user's parameters
        return False
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return name in sys.stdlib_module_names or file.startswith(_libraries())


def _is_foreign(module: str | None) -> bool:
    return is_installed(module) or is_ours(module)


@functools.cache
def _libraries() -> tuple[str, ...]:
    """Where installed modules are; asked for late, since Python takes its time to answer."""
    return tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")})


def bytes_in(x: Any) -> tuple[bytes, ...]:
    """What is in the memory of an array, and in its mask if it has one."""
    return np.asarray(x).tobytes(), np.asarray(getattr(x, "mask", 0)).tobytes()


def _state(x: dict[str, Any], names: Iterable[str]) -> list[Any]:
    """Attributes, how much is in each, and how many there are."""
    values = [x.get(name, NOTHING) for name in names]
    return [*values, *(len(value) for value in values if type(value) in CONTAINERS), len(x)]


def has_changed(x: dict[str, Any], names: Iterable[str], before: list[Any]) -> bool:
    """Whether attributes are others, or hold more or less."""
    now = _state(x, names)
    return len(now) != len(before) or not all(a is b or same(a, b) for a, b in zip(now, before, strict=True))


def _shows_memory(x: Any) -> bool:
    """Whether something is a stretch of memory that somebody may write to."""
    if isinstance(x, type | FunctionType | ModuleType | np.generic | bytes):
        return False
    try:
        return not memoryview(x).readonly
    except (TypeError, ValueError):
        return False


@functools.lru_cache(maxsize=4096)
def _looked_up(code: CodeType) -> tuple[frozenset[str], frozenset[str], bool]:
    """Globals that a function looks up, modules that it imports, and whether it compares by `is`, but for constants."""
    loaded, imported, compares, constant = set(), set(), False, False
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if name in LOADING:
            loaded.add(instruction.argval)
        elif name == "IMPORT_NAME":
            imported.add(instruction.argval)
        elif name == "IS_OP":
            compares |= not constant
        constant = name == "LOAD_CONST"
    inside = [_looked_up(x) for x in code.co_consts if isinstance(x, CodeType)]
    return (
        frozenset(loaded).union(*(names for names, _, _ in inside)),
        frozenset(imported).union(*(names for _, names, _ in inside)),
        compares or any(compares for _, _, compares in inside),
    )


def _names_in(code: CodeType) -> set[str]:
    """The names a function looks up, also in the functions written inside of it."""
    names = set(code.co_names).union(*(_names_in(c) for c in code.co_consts if isinstance(c, CodeType)))
    if not names.isdisjoint(BY_NAME):
        names |= {c for c in code.co_consts if isinstance(c, str) and c.isidentifier()}
    return names


def _is_called_by_python(name: str, f: Any) -> bool:
    """Whether a method is one that code need not name: of an operator, a call; those of dataclasses are Python's."""
    special = name.startswith("__") and name.endswith("__") and isinstance(f, FunctionType)
    return special and f.__code__.co_filename != "<string>"


def _filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (reading it raises if it is empty)
    except ValueError:
        return False
    return True
