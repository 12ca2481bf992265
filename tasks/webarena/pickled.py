"""The data inside a Python pickle, without Python's unpickler: no name is looked up, nothing imported or called.

A pickle is a program for a stack machine. This one knows the instructions that build plain data. Where the program
names a class, the name is all it gets: an object becomes a `Record` of class name, arguments and state. What it may
ask to be called is a list of exact names that rebuild data (arrays, dates, paths); they too end as records. Anything
else that is to be called, numpy's and the standard library's own functions included, refuses the whole file.
"""

from __future__ import annotations

import pickletools
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.errors import DataError

_CALLABLE = frozenset(
    """
    numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct numpy.core.numeric._frombuffer
    numpy._core.numeric._frombuffer numpy.core.multiarray.scalar numpy._core.multiarray.scalar numpy.dtype
    datetime.datetime datetime.date datetime.timedelta datetime.timezone collections.OrderedDict
    pathlib.PosixPath pathlib.PurePosixPath pathlib.WindowsPath pathlib.PureWindowsPath
    builtins.set builtins.frozenset __builtin__.set __builtin__.frozenset _codecs.encode
    """.split()
)
"""What a pickle of data asks to be called, by exact name. None of it is: the call is recorded."""
_NAMED_ONLY = frozenset({"numpy.ndarray", "builtins.object"})
"""Names of the standard library and numpy that appear in data without being called."""
_GUARDED = sys.stdlib_module_names | {"numpy", "__builtin__", "copy_reg", "nt", "posix"}
_NUMBERS = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "b1": "?"}
_NUMBERS |= {"u8": "Q", "u4": "I", "u2": "H", "u1": "B"}
_KEYS = (str, int, float, bool, bytes, type(None))
_MARK = object()


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that a pickle names."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Record:
    """An object that was not built: the name of its class, what it was to be built from, and the state it was given.

    Attributes:
        items: what was appended to it, where its class is a kind of list.
        entries: what was set in it, where its class is a kind of dict.
    """

    name: Name
    arguments: tuple[Any, ...]
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)

    @property
    def attributes(self) -> dict[str, Any]:
        """The state by attribute name; empty where it is none."""
        parts = self.state if isinstance(self.state, tuple) else (self.state,)
        return {k: v for part in parts if isinstance(part, dict) for k, v in part.items()}


def unpickled(content: bytes, where: str) -> Any:
    """The data of a pickle.

    Args:
        content: the pickle, decompressed.
        where: file name, for errors.

    Raises:
        DataError: it asks for something that is not data, or is damaged. Nothing was run in either case.
    """
    machine, position = _Machine(), 0
    try:
        for opcode, argument, position in pickletools.genops(content):
            step = _STEPS.get(opcode.name)
            if step is None:
                raise DataError(f"{where}, byte {position}: a pickle with {opcode.name}, which data does not need.")
            step(machine, argument)
        return machine.pop()
    except _Refused as error:
        raise DataError(
            f"{where}, byte {position}: this pickle asks to {error}, which no log needs. Nothing was run. If you trust "
            "the file, write it as JSON where it came from (docs/bring-your-logs.md)."
        ) from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        message = f"{type(error).__name__}: {error}"[:200]
        raise DataError(
            f"{where}, after byte {position}: a damaged or cut-off pickle ({message}). Nothing was taken from it."
        ) from error


def number(value: Any) -> Any:
    """A number as numpy pickles it (a record of `scalar`) as a Python number; any other value as it is.

    Raises:
        ValueError: a numpy scalar that is not a number.
    """
    if not (isinstance(value, Record) and value.name.name == "scalar" and value.name.module.startswith("numpy.")):
        return value
    kind, content = (*value.arguments, None, None)[:2]
    name = kind.arguments[0] if isinstance(kind, Record) and kind.arguments else None
    code = _NUMBERS.get(name) if isinstance(name, str) else None
    if code is None or not isinstance(content, bytes):
        raise ValueError("a numpy scalar that is not a number")
    order = ">" if isinstance(kind.state, tuple) and kind.state[1:2] == (">",) else "<"
    if len(content) != struct.calcsize(order + code):
        raise ValueError(f"a numpy scalar of type {name} in {len(content)} bytes")
    return struct.unpack(order + code, content)[0]


class _Refused(Exception):
    """What a pickle asked for that is not data; ends as a `DataError`."""


class _Machine:
    """The stack machine; every instruction is one method."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value should be")
        return value

    def marked(self) -> list[Any]:
        """What lies above the last mark; removes it and the mark."""
        at = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def top(self, kinds: tuple[type, ...]) -> Any:
        value = self.stack[-1]
        if not isinstance(value, kinds):
            raise TypeError(f"a {type(value).__name__} is changed in place")
        return value

    def name(self, module: Any, name: Any) -> None:
        """Pushes a name; refuses one that data has no use for."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a name that is no text")
        full = Name(module, name)
        if module.partition(".")[0] in _GUARDED and str(full) not in _CALLABLE | _NAMED_ONLY:
            raise _Refused(f"use {full}")
        self.push(full)

    def call(self, name: Any, arguments: Any) -> None:
        """Records a call that rebuilds data."""
        if not isinstance(name, Name) or str(name) not in _CALLABLE:
            raise _Refused(f"call {name if isinstance(name, Name) else type(name).__name__}")
        if str(name) == "_codecs.encode":  # how the protocols before 3 write bytes
            text, encoding = arguments
            if encoding != "latin1":
                raise ValueError(f"bytes in {str(encoding)[:20]}")
            return self.push(text.encode("latin-1"))
        self._record(name, arguments)

    def make(self, name: Any, arguments: Any) -> None:
        """Records an object that is to be made without calling its class."""
        if not isinstance(name, Name):
            raise _Refused(f"make an object of a {type(name).__name__}")
        self._record(name, arguments)

    def _record(self, name: Name, arguments: Any) -> None:
        if not isinstance(arguments, tuple):
            raise TypeError("arguments that are no tuple")
        self.push(Record(name, arguments))

    def build(self) -> None:
        state = self.pop()
        self.top((Record,)).state = state

    def append(self, values: list[Any]) -> None:
        target = self.top((list, Record))
        (target.items if isinstance(target, Record) else target).extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.top((dict, Record))
        (target.entries if isinstance(target, Record) else target).update(_pairs(values))

    def add_items(self, values: list[Any]) -> None:
        self.top((set,)).update(_hashable(values))

    def remember(self, key: int) -> None:
        self.memo[key] = self.stack[-1]


_Instruction = Callable[[_Machine, Any], None]


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(_hashable(values[::2]), values[1::2], strict=True))


def _hashable(values: list[Any]) -> list[Any]:
    """Keys are texts and numbers, or flat tuples of them; a tuple as deep as the file likes would overflow a stack."""
    for value in values:
        parts = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(part, _KEYS) for part in parts):
            raise TypeError("a key that is neither text nor number")
    return values


def _two(machine: _Machine) -> list[Any]:
    value, key = machine.pop(), machine.pop()
    return [key, value]


def _tuple_of(count: int) -> _Instruction:
    return lambda m, _: m.push(tuple([m.pop() for _ in range(count)][::-1]))


def _constant(value: Any) -> _Instruction:
    return lambda m, _: m.push(value)


def _object(machine: _Machine) -> None:
    cls, *arguments = machine.marked()
    machine.call(cls, tuple(arguments))


def _instance(machine: _Machine, name: str) -> None:
    machine.name(*name.split(" ", 1))
    cls = machine.pop()
    machine.call(cls, tuple(machine.marked()))


def _make_with_keywords(machine: _Machine) -> None:
    keywords, arguments, cls = machine.pop(), machine.pop(), machine.pop()
    machine.make(cls, arguments)
    machine.top((Record,)).entries.update(keywords)


def _swapped(machine: _Machine, use: Callable[[Any, Any], None]) -> None:
    second, first = machine.pop(), machine.pop()
    use(first, second)


_LITERALS = (
    "INT LONG BININT BININT1 BININT2 LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
)
_STEPS: dict[str, _Instruction] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda m, a: None),
    **dict.fromkeys(_LITERALS.split(), lambda m, a: m.push(a)),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "EMPTY_TUPLE": _constant(()),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": lambda m, _: m.push(tuple(m.marked())),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "LIST": lambda m, _: m.push(m.marked()),
    "APPEND": lambda m, _: m.append([m.pop()]),
    "APPENDS": lambda m, _: m.append(m.marked()),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "DICT": lambda m, _: m.push(_pairs(m.marked())),
    "SETITEM": lambda m, _: m.set_items(_two(m)),
    "SETITEMS": lambda m, _: m.set_items(m.marked()),
    "EMPTY_SET": lambda m, _: m.push(set()),
    "FROZENSET": lambda m, _: m.push(frozenset(_hashable(m.marked()))),
    "ADDITEMS": lambda m, _: m.add_items(m.marked()),
    "MARK": _constant(_MARK),
    "POP": lambda m, _: m.stack.pop(),
    "POP_MARK": lambda m, _: m.marked(),
    "DUP": lambda m, _: m.push(m.stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda m, a: m.remember(a)),
    "MEMOIZE": lambda m, _: m.remember(len(m.memo)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, a: m.push(m.memo[a])),
    "GLOBAL": lambda m, a: m.name(*a.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: _swapped(m, m.name),
    "REDUCE": lambda m, _: _swapped(m, m.call),
    "NEWOBJ": lambda m, _: _swapped(m, m.make),
    "NEWOBJ_EX": lambda m, _: _make_with_keywords(m),
    "BUILD": lambda m, _: m.build(),
    "INST": _instance,
    "OBJ": lambda m, _: _object(m),
}
