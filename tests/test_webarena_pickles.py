"""Pickles are read as data: what they hold comes out, and what they would run does not run."""

from __future__ import annotations

import builtins
import collections
import copyreg
import datetime
import functools
import operator
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from bench.errors import DataError
from tasks.webarena import pickled
from tasks.webarena.pickled import Name, Record, number, unpickled
from tests.browsergym_pickles import named_classes, step_info


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_comes_out_as_it_went_in(protocol: int) -> None:
    shared = ["one", 2]
    data = {
        "text": "Größe \U0001f600 'quoted'\n",
        "numbers": [0, 1, -1, 255, 65536, -(2**31), 2**63, -(2**200), 1.5, -0.0],
        "constants": (None, True, False, (), [], {}, (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "again": [shared, shared],
        (1, "key"): "tuple key",
        2: 3.0,
        "bytes": b"\x00\xff" * 200,
    }
    if protocol > 3:
        data["sets"] = [{1, 2}, frozenset({"a"})]
    if protocol > 4:
        data["array"] = bytearray(b"xyz")
    assert unpickled(pickle.dumps(data, protocol), "x.pkl") == data


def test_objects_become_records_of_what_they_held() -> None:
    with named_classes("lab.agents", "Agent", "Notes") as (agent, _):
        made = agent()
        made.model, made.inner = "gpt", agent()
        content = pickle.dumps(made)
    record = unpickled(content, "x.pkl")
    assert record.name == Name("lab.agents", "Agent")
    assert record.attributes["model"] == "gpt"
    assert record.attributes["inner"].attributes == {}
    assert "lab.agents" not in sys.modules


def test_arrays_dates_and_paths_become_records() -> None:
    values = [np.arange(3.0), datetime.datetime(2024, 5, 1), PurePosixPath("/a/b"), collections.OrderedDict(a=1)]
    for protocol in (2, 4, 5):
        found = unpickled(pickle.dumps(values, protocol), "x.pkl")
        assert [type(value) for value in found] == [Record] * 4
        assert found[3].entries == {"a": 1}


@pytest.mark.parametrize("kind", ["f8", "f4", "i8", "u1", "i2", "?", ">f8", ">i4"])
def test_numpy_numbers(kind: str) -> None:
    value = np.array([1], dtype=kind)[0]
    for protocol in (2, 4, 5):
        assert number(unpickled(pickle.dumps(value, protocol), "x.pkl")) == 1
    assert number("text") == "text"
    with pytest.raises(ValueError, match="not a number"):
        number(unpickled(pickle.dumps(np.datetime64("2024-01-01")), "x.pkl"))


def test_damaged_numpy_numbers_are_value_errors() -> None:
    whole = unpickled(pickle.dumps(np.float64(1)), "x.pkl")
    kind, content = whole.arguments
    for arguments in ((kind, content[:2]), (replace(kind, arguments=([],)), content), (kind,)):
        with pytest.raises(ValueError, match="a numpy scalar"):
            number(replace(whole, arguments=arguments))


def test_a_step_of_browsergym() -> None:
    record = unpickled(step_info(3, "page", "noop()", np.float64(0.5)), "step_3.pkl.gz")
    assert record.attributes["obs"]["axtree_txt"] == "page"
    assert number(record.attributes["reward"]) == 0.5


def opcodes(text: str) -> bytes:
    """A protocol-0 pickle from its lines."""
    return text.encode("latin-1")


def stack_global(module: str, name: str, *rest: bytes) -> bytes:
    """A protocol-4 pickle that names something on the stack and goes on."""
    parts = (b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, name))
    return b"\x80\x04" + b"".join(parts) + b"\x93" + b"".join(rest) + b"."


ARGUMENT = "touch pwned"
SHELL = b"\x8c" + bytes([len(ARGUMENT)]) + ARGUMENT.encode() + b"\x85R"
HOSTILE: dict[str, bytes] = {
    "os.system": pickle.dumps(Calls(os.system, ARGUMENT)),
    "subprocess.Popen": pickle.dumps(Calls(subprocess.Popen, ["touch", "pwned"])),
    "builtins.eval": pickle.dumps(Calls(builtins.eval, "open('pwned', 'w')")),
    "builtins.exec": pickle.dumps(Calls(builtins.exec, "open('pwned', 'w')")),
    "builtins.open": pickle.dumps(Calls(builtins.open, "pwned", "w")),
    "builtins.__import__": pickle.dumps(Calls(builtins.__import__, "antigravity")),
    "builtins.getattr": pickle.dumps(Calls(builtins.getattr, np.dtype, "mro")),
    "functools.partial": pickle.dumps(functools.partial(os.system, ARGUMENT)),
    "operator.attrgetter": pickle.dumps(operator.attrgetter("system")),
    "pathlib.Path.write_text": pickle.dumps(Calls(Path.write_text, Path("pwned"), "x")),
    "numpy.load with pickles": pickle.dumps(Calls(np.load, "pwned.npy", None, True)),
    "numpy.save": pickle.dumps(Calls(np.save, "pwned", np.zeros(1))),
    "numpy.fromfile": stack_global("numpy", "fromfile", SHELL),
    "numpy testing runstring": stack_global("numpy.testing._private.utils", "runstring", SHELL),
    "numpy reaching os by dots": stack_global("numpy", "core.multiarray.os.system", SHELL),
    "numpy ctypeslib": stack_global("numpy.ctypeslib", "load_library", SHELL),
    "numpy f2py": stack_global("numpy.f2py.diagnose", "run_command", SHELL),
    "numpy distutils": stack_global("numpy.distutils.exec_command", "exec_command", SHELL),
    "numpy ndarray called": stack_global("numpy", "ndarray", b"J\xff\xff\xff\x7f\x85R"),
    "datetime reaching sys": stack_global("datetime", "sys.modules", b""),
    "collections reaching eval": stack_global("collections", "_sys.modules", b""),
    "pathlib reaching os": stack_global("pathlib", "os.system", SHELL),
    "an allowed name made of parts": stack_global("numpy.core.multiarray", "scalar.__globals__", b""),
    "protocol 0 os.system": opcodes(f"cos\nsystem\n(V{ARGUMENT}\ntR."),
    "protocol 0 posix.system": opcodes(f"cposix\nsystem\n(V{ARGUMENT}\ntR."),
    "INST": opcodes(f"(V{ARGUMENT}\nios\nsystem\n."),
    "OBJ": b"(cos\nsystem\nV" + ARGUMENT.encode() + b"\no.",
    "NEWOBJ": stack_global("subprocess", "Popen", b"\x8c\x04true\x85\x81"),
    "python 2 builtins": opcodes("c__builtin__\neval\n(V1\ntR."),
    "copyreg reconstructor": opcodes("ccopyreg\n_reconstructor\n(cos\n_wrap_close\nc__builtin__\nobject\nNtR."),
    "copyreg add_extension": pickle.dumps(Calls(copyreg.add_extension, "os", "system", 240)),
    "extension registry": b"\x80\x02\x82\xf0.",
    "persistent id": opcodes("Ppwned\n."),
    "a foreign function": stack_global("lab.agents", "run", SHELL),
    "state put on a name": stack_global("numpy", "ndarray", b"}\x8c\x08__call__", b"\x8c\x01xsb"),
    "a text called": b"\x80\x04\x8c\x06system\x8c\x01x\x85R.",
    "a text made": b"\x80\x04\x8c\x06system\x8c\x01x\x85\x81.",
    "hidden in an attribute": step_info(0, "page", "noop()", Calls(os.system, ARGUMENT)),
    "hidden after the data": pickle.dumps({"a": 1})[:-1] + stack_global("os", "system", SHELL)[2:],
    "buffers from outside": b"\x80\x05\x97.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_runs_nothing_and_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = set(sys.modules)
    events: list[str] = []
    monkeypatch.setattr(os, "system", lambda command: events.append(command))
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: events.append("Popen"))
    with pytest.raises(DataError, match=r"step_1\.pkl\.gz, (?:after )?byte \d+: "):
        unpickled(HOSTILE[name], "step_1.pkl.gz")
    assert not events and not list(tmp_path.iterdir())
    assert set(sys.modules) <= loaded


def test_the_attacks_are_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own unpickler runs them: the shapes above are not refused for being malformed."""
    monkeypatch.chdir(tmp_path)
    for name in ("os.system", "builtins.exec", "protocol 0 posix.system", "INST", "OBJ", "hidden after the data"):
        pickle.loads(HOSTILE[name])
        assert (tmp_path / "pwned").exists(), name
        (tmp_path / "pwned").unlink()


DAMAGED = {
    "empty": b"",
    "cut off": step_info(0, "page", "noop()")[:-40],
    "junk": b"\x80\x04" + bytes(range(256)),
    "a mark instead of a value": b"\x80\x04(.",
    "nothing on the stack": b"\x80\x04.",
    "no mark": b"\x80\x04t.",
    "unknown memo": b"\x80\x04h\x05.",
    "odd number of items": b"\x80\x04}(K\x01u.",
    "a list as key": b"\x80\x04}]K\x01s.",
    "items set in a text": b"\x80\x04\x8c\x01xK\x01K\x01s.",
    "a length past the end": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "a number of 10,000 digits": b"I" + b"9" * 10_000 + b"\n.",
    "a name without a name": b"cos\n\n.",
    "state on a number": b"\x80\x04K\x01K\x02b.",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_pickle_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"x\.pkl, (?:after )?byte \d+: "):
        unpickled(DAMAGED[name], "x.pkl")


def test_small_files_that_ask_for_much_cost_little() -> None:
    start = time.process_time()
    far = b"\x80\x04K\x01r\xff\xff\xff\x7f."  # memo entry two billion; Python's unpickler makes room for all before it
    assert unpickled(far, "x.pkl") == 1
    deep = b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b"."
    found = unpickled(deep, "x.pkl")
    assert isinstance(found, list)
    nested_key = b"\x80\x04}" + b")" + b"\x85" * 50_000 + b"K\x01s."
    with pytest.raises(DataError, match="key"):
        unpickled(nested_key, "x.pkl")
    assert time.process_time() - start < 5


def test_every_instruction_of_every_protocol_is_known_or_refused() -> None:
    refused = {"PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
    assert set(pickled._STEPS) == {code.name for code in pickletools.opcodes} - refused
