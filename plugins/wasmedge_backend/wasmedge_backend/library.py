"""Runs one module through WasmEdge's C API (wasmedge.h, 0.14) by ctypes."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence

from pelagos_core.plugin.values import Call, Number

DEFAULT = "libwasmedge.so.0"
_WASI = 0  # WasmEdge_HostRegistration_Wasi
_TERMINATED = 0x01  # the result of an execution that proc_exit has ended


class _Result(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint32),)


class _String(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint32), ("data", ctypes.c_char_p))


class _Value(ctypes.Structure):
    """A value of 128 bits, and its type. A number uses the first bits."""

    _fields_ = (("bits", ctypes.c_uint64 * 2), ("type", ctypes.c_uint64 * 2))


# For each type: its letters for `struct`, the function that makes a value, and that function's parameter type.
_NUMBERS: dict[str, tuple[str, str, type]] = {
    "i32": ("<i", "WasmEdge_ValueGenI32", ctypes.c_int32),
    "i64": ("<q", "WasmEdge_ValueGenI64", ctypes.c_int64),
    "f32": ("<f", "WasmEdge_ValueGenF32", ctypes.c_float),
    "f64": ("<d", "WasmEdge_ValueGenF64", ctypes.c_double),
}
_ALIGNED = 16  # the alignment of a value in C, because it has a member of 128 bits


class Failure(Exception):
    """A call has failed; the text has WasmEdge's message and its code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(f"{message} (WasmEdge error 0x{code:03x})")
        self.code = code


class Library:
    """The loaded library libwasmedge."""

    def __init__(self, path: str) -> None:
        """Load the library. path: its path, or a name that the loader searches. Raises OSError."""
        self._c = ctypes.CDLL(path)
        pointer, number, count = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32
        words = ctypes.POINTER(ctypes.c_char_p)
        self._declare("WasmEdge_VersionGet", ctypes.c_char_p)
        self._declare("WasmEdge_LogOff", None)
        self._declare("WasmEdge_ResultGetMessage", ctypes.c_char_p, _Result)
        self._declare("WasmEdge_ConfigureCreate", pointer)
        self._declare("WasmEdge_ConfigureAddHostRegistration", None, pointer, ctypes.c_int)
        self._declare("WasmEdge_ConfigureSetForceInterpreter", None, pointer, ctypes.c_bool)
        self._declare("WasmEdge_ConfigureSetMaxMemoryPage", None, pointer, count)
        self._declare("WasmEdge_ConfigureStatisticsSetInstructionCounting", None, pointer, ctypes.c_bool)
        self._declare("WasmEdge_ConfigureStatisticsSetCostMeasuring", None, pointer, ctypes.c_bool)
        self._declare("WasmEdge_StatisticsSetCostLimit", None, pointer, number)
        self._declare("WasmEdge_VMCreate", pointer, pointer, pointer)
        self._declare("WasmEdge_VMGetStatisticsContext", pointer, pointer)
        self._declare("WasmEdge_VMLoadWasmFromBytes", _Result, pointer, _String)
        self._declare("WasmEdge_VMValidate", _Result, pointer)
        self._declare("WasmEdge_VMInstantiate", _Result, pointer)
        self._declare("WasmEdge_VMExecute", _Result, pointer, _String, pointer, count, pointer, count)
        self._declare("WasmEdge_VMGetImportModuleContext", pointer, pointer, ctypes.c_int)
        self._declare("WasmEdge_ModuleInstanceInitWASI", None, pointer, words, count, words, count, words, count)
        self._declare("WasmEdge_ModuleInstanceWASIGetExitCode", count, pointer)
        for _, name, kind in _NUMBERS.values():
            self._declare(name, _Value, kind)
        # It would log to stdout, which is the guest's.
        self._c.WasmEdge_LogOff()

    @property
    def version(self) -> str:
        """The library's version."""
        return str(self._c.WasmEdge_VersionGet().decode())

    @property
    def path(self) -> str:
        """The path of the loaded file, from /proc/self/maps (proc(5)). Raises OSError."""
        address = ctypes.cast(self._c.WasmEdge_VersionGet, ctypes.c_void_p).value or 0
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                begin, _, end = line.partition(" ")[0].partition("-")
                if int(begin, 16) <= address < int(end, 16):
                    return line.rstrip("\n").split(maxsplit=5)[5]
        raise FileNotFoundError(f"no file is mapped at {address:#x}")

    def load(self, data: bytes, memory_pages: int | None, fuel: int | None) -> Machine:
        """Load and validate a module without running it.

        memory_pages: the largest size of a memory, in pages of 64 KiB; None without a limit.
        fuel: the largest total cost of its instructions; None without a limit.
        Raises Failure.
        """
        configure = self._c.WasmEdge_ConfigureCreate()
        self._c.WasmEdge_ConfigureAddHostRegistration(configure, _WASI)
        # A module may contain native code in a custom section; never run it.
        self._c.WasmEdge_ConfigureSetForceInterpreter(configure, True)
        if memory_pages is not None:
            self._c.WasmEdge_ConfigureSetMaxMemoryPage(configure, memory_pages)
        if fuel is not None:
            self._c.WasmEdge_ConfigureStatisticsSetInstructionCounting(configure, True)
            self._c.WasmEdge_ConfigureStatisticsSetCostMeasuring(configure, True)
        machine = self._c.WasmEdge_VMCreate(configure, None)
        if fuel is not None:
            self._c.WasmEdge_StatisticsSetCostLimit(self._c.WasmEdge_VMGetStatisticsContext(machine), fuel)
        self.check(self._c.WasmEdge_VMLoadWasmFromBytes(machine, _String(len(data), data)))
        self.check(self._c.WasmEdge_VMValidate(machine))
        return Machine(self, machine)

    def check(self, result: _Result) -> bool:
        """Check a call's result. Returns True on success, False if the guest has exited. Raises Failure."""
        if result.code & 0xFFFFFF == _TERMINATED:
            return False
        if result.code:
            raise Failure(self._c.WasmEdge_ResultGetMessage(result).decode(), result.code & 0xFFFFFF)
        return True

    def call(self, name: str, *arguments: object) -> object:
        """Call a declared function of the library."""
        return getattr(self._c, f"WasmEdge_{name}")(*arguments)

    def value(self, kind: str, value: Number) -> _Value:
        """Make a value for a call. kind: i32, i64, f32 or f64."""
        made = getattr(self._c, _NUMBERS[kind][1])(value)
        assert isinstance(made, _Value)
        return made

    def _declare(self, name: str, result: object, *arguments: object) -> None:
        function = getattr(self._c, name)
        function.restype = result
        function.argtypes = arguments


class Machine:
    """A loaded module that can be run once. It is not freed before the process exits."""

    def __init__(self, library: Library, machine: object) -> None:
        self._library = library
        self._machine = machine
        self._returned: list[Number] = []  # by the last call

    def run(
        self, first: Sequence[str], call: Call, args: Sequence[str], env: Sequence[str], preopens: Sequence[str]
    ) -> int:
        """Instantiate the module and call its functions; return the exit code.

        first: functions without parameters, called in order. call: the last call.
        args, env: argv and `NAME=VALUE` strings. preopens: `GUEST:HOST` strings.
        Raises Failure for a trap.
        """
        wasi = self._library.call("VMGetImportModuleContext", self._machine, _WASI)
        words = [_array(each) for each in (args, env, preopens)]
        sizes = [len(each) for each in (args, env, preopens)]
        self._library.call("ModuleInstanceInitWASI", wasi, words[0], sizes[0], words[1], sizes[1], words[2], sizes[2])
        calls = (*map(Call, first), call)
        ran = self._check(self._library.call("VMInstantiate", self._machine)) and all(map(self._call, calls))
        if not ran:
            return int(str(self._library.call("ModuleInstanceWASIGetExitCode", wasi)))
        return call.show(self._returned) if call.results else 0

    def _call(self, call: Call) -> bool:
        """Call a function. Returns whether it has returned; False if the guest has exited."""
        name = call.name.encode()
        given = _values(
            [self._library.value(kind, each) for kind, each in zip(call.types, call.arguments, strict=True)]
        )
        returned = _values([_Value()] * len(call.results))
        parameters = given, len(call.arguments), returned, len(call.results)
        if not self._check(self._library.call("VMExecute", self._machine, _String(len(name), name), *parameters)):
            return False
        self._returned = [_number(kind, value) for kind, value in zip(call.results, returned, strict=True)]
        return True

    def _check(self, result: object) -> bool:
        assert isinstance(result, _Result)
        return self._library.check(result)


def _array(words: Sequence[str]) -> object:
    return (ctypes.c_char_p * len(words))(*[word.encode() for word in words])


def _values(of: Sequence[_Value]) -> ctypes.Array[_Value]:
    """An array of values with the alignment that C requires; ctypes aligns to 8 bytes only."""
    kind = _Value * len(of)
    room = ctypes.create_string_buffer(ctypes.sizeof(kind) + _ALIGNED)
    array = kind.from_buffer(room, -ctypes.addressof(room) % _ALIGNED)
    for index, each in enumerate(of):
        array[index] = each
    return array


def _number(kind: str, value: _Value) -> Number:
    letters = _NUMBERS[kind][0]
    found: Number = struct.unpack_from(letters, bytes(value))[0]
    return found
