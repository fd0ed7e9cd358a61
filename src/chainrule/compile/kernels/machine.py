"""Machine code from a module's text, through llvmlite, and builtin functions from machine code."""

from __future__ import annotations

import ctypes
import itertools
import threading
from typing import Any

import numpy as np

from ...errors import MissingExtraError
from .entry import DATA_OFFSET, ENTRIES, RUNTIME

__all__ = ["Machine", "machine"]

_METH_FASTCALL = 0x80


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
            import llvmlite.binding as llvm  # noqa: PLC0415 (optional, which importing chainrule must not load)
        except ImportError as error:
            raise MissingExtraError(
                'compiled kernels need llvmlite, which is not installed: pip install "chainrule[jit]"'
            ) from error
        self.llvm = llvm
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.triple = llvm.get_process_triple()
        self.processor = llvm.get_host_cpu_name()
        features = llvm.get_host_cpu_features()
        self.target = llvm.Target.from_triple(self.triple).create_target_machine(
            cpu=self.processor, features=features.flatten(), opt=2, reloc="pic"
        )
        if not (features.get("fma") or self.triple.startswith(("aarch64", "arm64"))):
            raise MissingExtraError(f"compiled kernels need fused multiply-add, which this {self.processor} has not")
        probe = np.zeros(3)
        if ctypes.c_void_p.from_address(id(probe) + DATA_OFFSET).value != probe.ctypes.data:
            raise MissingExtraError("compiled kernels do not know how this Python lays out arrays")
        self.linker = llvm.create_lljit_compiler(
            llvm.Target.from_triple(self.triple).create_target_machine(
                cpu=self.processor, features=features.flatten(), opt=2, reloc="pic"
            )
        )
        self.names = (f"kernel{k}" for k in itertools.count())
        self.lock = threading.Lock()
        self.runtime = _runtime()

    def compile(self, text: str) -> bytes:
        """An object file."""
        llvm = self.llvm
        module = llvm.parse_assembly(text)
        passes = llvm.create_new_module_pass_manager()
        passes.add_sroa_pass()
        options = llvm.create_pipeline_tuning_options(speed_level=1)
        passes.run(module, llvm.create_pass_builder(self.target, options))
        return bytes(self.target.emit_object(module))

    def load(self, image: bytes) -> list[Any]:
        """The entry points of an object file, as builtin functions."""
        with self.lock:
            builder = self.llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
            for name in ENTRIES:
                builder.export_symbol(name)
            code = builder.link(self.linker, next(self.names))
        table = np.array(self.runtime, np.uintp).view(_Table)
        methods = [_MethodDef(name.encode(), code[name], _METH_FASTCALL, None) for name in ENTRIES]
        table.keeps = (code, methods)
        new = ctypes.pythonapi.PyCFunction_NewEx
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
        return [new(ctypes.addressof(method), table, None) for method in methods]


_MESSAGE = ctypes.create_string_buffer(
    b"a kernel takes the numbers of rows and columns, its inputs, and its outputs: arrays, and numbers for scalars"
)


def _runtime() -> list[int]:
    addresses: dict[str, int] = {
        "None": id(None),
        "ndarray": id(np.ndarray),
        "TypeError": id(TypeError),
        "message": ctypes.addressof(_MESSAGE),
    }
    for name in RUNTIME:
        if name not in addresses:
            addresses[name] = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
    return [addresses[name] for name in RUNTIME]


_machine: Machine | None = None


def machine() -> Machine:
    """The compiler, made on first use."""
    global _machine
    if _machine is None:
        _machine = Machine()
    return _machine
