"""Machine code from a module's text, through llvmlite, and builtin functions from machine code."""

from __future__ import annotations

import ctypes
import itertools
import threading
from typing import Any

import numpy as np

from ...errors import MissingExtraError
from . import disk
from .entry import DATA_OFFSET, ENTRIES, PYTHON, TABLE, codes, entries, needs_rows
from .group import Group, Plan, every, row_reductions, scalar_reductions

__all__ = ["Machine", "machine"]

_METH_FASTCALL = 0x80
_LEVEL = 2  # of LLVM's code generation; it has little left to find, as common subexpressions are written once


class _MethodDef(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class _Table(np.ndarray[Any, Any]):
    """The `self` of a kernel's builtins: what they need of Python, and what must live as long as they do."""

    keeps: Any


class Machine:
    """The compiler for this processor; there is one."""

    def __init__(self) -> None:
        try:
            import llvmlite  # noqa: PLC0415 (see below)
            import llvmlite.binding as llvm  # noqa: PLC0415 (optional, which importing chainrule must not load)
        except (ImportError, OSError) as error:  # there is none, or its library cannot be loaded
            raise MissingExtraError(
                f'compiled kernels need llvmlite, which cannot be imported ({error}): pip install "chainrule[jit]"'
            ) from error
        self.llvm = llvm
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.triple = llvm.get_process_triple()
        self.processor = llvm.get_host_cpu_name()
        features = llvm.get_host_cpu_features()
        self.target = llvm.Target.from_triple(self.triple).create_target_machine(
            cpu=self.processor, features=features.flatten(), opt=_LEVEL, reloc="pic"
        )
        if not (features.get("fma") or self.triple.startswith(("aarch64", "arm64"))):
            raise MissingExtraError(f"compiled kernels need fused multiply-add, which this {self.processor} has not")
        self.avx512 = bool(features.get("avx512f"))
        probe = np.zeros(3)
        if ctypes.c_void_p.from_address(id(probe) + DATA_OFFSET).value != probe.ctypes.data:
            raise MissingExtraError("compiled kernels do not know how this Python lays out arrays")
        self.linker = llvm.create_lljit_compiler(
            llvm.Target.from_triple(self.triple).create_target_machine(
                cpu=self.processor, features=features.flatten(), opt=_LEVEL, reloc="pic"
            )
        )
        self.compiler = (
            f"{llvmlite.__version__} {llvm.llvm_version_info} {self.processor} {features.flatten()} {_LEVEL}"
        )
        self.names = (f"kernel{k}" for k in itertools.count())
        self.lock = threading.Lock()
        self.python = _python()
        self.entries = self._link(self.compile(entries(self.triple)), ENTRIES)

    def compile(self, text: str) -> bytes:
        """An object file."""
        name = disk.key(text, self.compiler)
        image = disk.fetch(name)
        if image is None:
            image = self._compiled(text)
            disk.keep(name, image)
        return image

    def _compiled(self, text: str) -> bytes:
        llvm = self.llvm
        module = llvm.parse_assembly(text)
        passes = llvm.create_new_module_pass_manager()
        passes.add_sroa_pass()
        options = llvm.create_pipeline_tuning_options(speed_level=1)
        passes.run(module, llvm.create_pass_builder(self.target, options))
        return bytes(self.target.emit_object(module))

    def link(self, image: bytes) -> Any:
        """The code of an object file, which several kernels may share."""
        return self._link(image, ("box", "finish"))

    def load(self, code: Any, group: Group, plan: Plan) -> list[Any]:
        """The entry points of a kernel with this code, as builtin functions."""
        outputs = [out.value for out in group.outputs]
        rows = np.array([len(group.inputs) + outputs.index(n) for n in row_reductions(group)], np.int64)
        sizes = {
            "kept": len(plan.kept),
            "rows": len(rows),
            "row_outputs": rows.ctypes.data,
            "scalars": len(scalar_reductions(group)),
            "by_rows": needs_rows(group, plan),
            "every": every(group),
        }
        return self._builtins(code, codes(group), group.offsets(), sizes, rows)

    def load_loop(self, image: bytes, reading: bytes) -> Any:
        """The builtin function that does a loop; `reading` says how each argument is read."""
        sizes = dict.fromkeys(("kept", "rows", "row_outputs", "scalars", "by_rows"), 0) | {"every": 1}
        return self._builtins(self.link(image), reading, [0] * len(reading), sizes)[0]

    def _builtins(self, code: Any, reading: bytes, offsets: list[int], sizes: dict[str, int], *kept: Any) -> list[Any]:
        buffer = ctypes.create_string_buffer(reading)
        further = np.array(offsets, np.int64)
        values = self.python | sizes
        values |= {"box": code["box"], "finish": code["finish"]}
        values |= {"arguments": len(reading), "codes": ctypes.addressof(buffer), "offsets": further.ctypes.data}
        table = np.array([values[name] for name in TABLE], np.uintp).view(_Table)
        methods = [_MethodDef(name.encode(), self.entries[name], _METH_FASTCALL, None) for name in ENTRIES]
        table.keeps = (code, buffer, further, kept, methods, self)
        new = ctypes.pythonapi.PyCFunction_NewEx
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
        return [new(ctypes.addressof(method), table, None) for method in methods]

    def _link(self, image: bytes, names: tuple[str, ...]) -> Any:
        """Make code executable; what is returned has its addresses, and keeps it alive."""
        with self.lock:
            builder = self.llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
            for name in names:
                builder.export_symbol(name)
            return builder.link(self.linker, next(self.names))


_MESSAGE = ctypes.create_string_buffer(
    b"a kernel takes the numbers of rows and columns, its inputs, and its outputs: arrays, and numbers for scalars"
)


def _python() -> dict[str, int]:
    """What compiled code needs of Python: addresses of functions and objects."""
    found = {name: ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0 for name in PYTHON}
    objects: dict[str, object] = {"None": None, "ndarray": np.ndarray, "TypeError": TypeError}
    return found | {name: id(thing) for name, thing in objects.items()} | {"message": ctypes.addressof(_MESSAGE)}


_machine: Machine | None = None
_making = threading.Lock()


def machine() -> Machine:
    """The compiler, made on first use.

    Raises
    ------
    MissingExtraError
        If llvmlite is not installed, or this processor or Python cannot run its code.
    """
    global _machine
    with _making:
        if _machine is None:
            _machine = Machine()
    return _machine
