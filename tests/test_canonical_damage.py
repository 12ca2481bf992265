"""One clear error, naming file and place, for everything that can be wrong with a canonical log; nothing is lost."""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.canonical import Extras, read_canonical, read_log, write_jsonl, write_parquet
from bench.data import LoggedDataset, Step, Trajectory
from bench.errors import DataError
from tests.canonical_logs import COLUMNS, EPISODE, HEADER, changed, episode, lines, realistic

BAD_JSONL: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "holds no episode"),
    "header alone": (lines(HEADER), "holds no episode"),
    "cut mid-line": (lines(EPISODE, json.dumps(episode(id="b")).encode()[:60]), "line 2: Invalid JSON: EOF"),
    "binary junk": (bytes(range(128, 256)) * 9, r"line 1, byte 0: not UTF-8"),
    "binary junk with zeros": (b"\0\1\2\3" * 40, "line 1: Invalid JSON"),
    "a pickle": (b"\x80\x04\x95junk", "pickle, which is never opened"),
    "not UTF-8": (
        lines(EPISODE, json.dumps(episode(id="b", goal="@")).encode().replace(b"@", b"\xe9")),
        "line 2, byte .*not UTF-8",
    ),
    "missing field": (lines(episode(goal=None)), "line 1: goal: Field required"),
    "unknown field": (lines(episode(score=1)), "line 1: score: .*metadata"),
    "unknown step field": (lines(episode({"value": 1})), r"line 1: steps\[0\].value"),
    "two problems": (lines(episode(goal=None, instance=None)), "and 1 more problems"),
    "missing reward": (lines(episode({"reward": None})), r"line 1: steps\[0\].reward is missing.*outcome_known"),
    "NaN reward": (lines(episode({"reward": math.nan})), r"line 1: steps\[0\].reward: .*finite"),
    "huge reward": (lines(EPISODE).replace(b"1.0", b"1e999"), r"steps\[0\].reward: .*finite"),
    "reward as text": (lines(episode({"reward": "1.0"})), r"steps\[0\].reward"),
    "reward as true": (lines(episode({"reward": True})), r"steps\[0\].reward"),
    "positive log-probability": (
        lines(EPISODE, episode({"behavior_logp": 0.5}, id="b")),
        r"line 2: steps\[0\].behavior_logp",
    ),
    "infinite log-probability": (lines(episode({"behavior_logp": -math.inf})), r"steps\[0\].behavior_logp: .*finite"),
    "positive among loggers": (
        lines(HEADER, episode({"logger_logps": [0.5]})),
        r"line 2: steps\[0\].logger_logps\[0\]",
    ),
    "one logger too many": (
        lines(HEADER, episode({"logger_logps": [-1, -2]})),
        "line 2: .*2 values, the header names 1",
    ),
    "logger_logps without loggers": (lines(episode({"logger_logps": [-1]})), "the header names 0"),
    "negative token": (lines(episode({"action_tokens": [3, -1]})), r"action_tokens\[1\]"),
    "duplicate id": (lines(EPISODE, b"", episode()), "line 3: episode id 'a' already stands on line 1"),
    "no step": (lines({**EPISODE, "steps": []}), "line 1: steps"),
    "flag as number": (lines(episode(terminated=1)), "line 1: terminated"),
    "wrong version": (lines({**HEADER, "version": 2}, EPISODE), "line 1: version: Input should be 1"),
    "wrong format name": (lines({**HEADER, "format": "other"}, EPISODE), "line 1: format"),
    "gamma above 1": (lines({**HEADER, "gamma": 1.5}, EPISODE), "line 1: gamma"),
    "logger twice": (lines({**HEADER, "loggers": ["gpt", "gpt"]}, EPISODE), "names a logger twice"),
    "logger not in header": (lines({**HEADER, "loggers": ["other"]}, EPISODE), "line 2: logger 'gpt' is not among"),
    "longer than horizon": (
        lines({**HEADER, "horizon": 1}, {**EPISODE, "steps": EPISODE["steps"] * 2}),
        "line 2: 2 steps exceed",
    ),
    "header in the middle": (lines(EPISODE, HEADER), "line 2: "),
    "deep nesting": (lines(b"[" * 100_000), "line 1: "),
    "a list": (lines([1, 2]), "line 1: "),
}


@pytest.mark.parametrize("name", BAD_JSONL)
def test_bad_jsonl_is_refused_with_file_and_line(name: str, tmp_path: Path) -> None:
    content, message = BAD_JSONL[name]
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_log(path)
    assert str(path) in str(caught.value)


def test_a_gzipped_log_reads_like_a_plain_one_and_a_cut_one_is_refused(tmp_path: Path) -> None:
    many = lines(HEADER, *(episode(id=str(i), goal=str(hash(i))) for i in range(500)))
    (tmp_path / "log.jsonl").write_bytes(many)
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(many))
    assert read_log(tmp_path / "log.jsonl") == read_log(tmp_path / "log.jsonl.gz")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(many)[:-700])
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz: cut off or damaged"):
        read_log(tmp_path / "cut.jsonl.gz")
    (tmp_path / "fake.jsonl.gz").write_bytes(many)
    with pytest.raises(DataError, match=r"fake\.jsonl\.gz: cannot be read \(Not a gzipped file"):
        read_log(tmp_path / "fake.jsonl.gz")


BAD_PARQUET: dict[str, tuple[dict[str, Any], str]] = {
    "missing columns": (changed(goal=None, reward=None), "missing columns goal, reward; found"),
    "unknown column": (changed(score=[1, 2, 3]), "unknown columns score.*metadata"),
    "wrong type": (changed(reward=["0", "1", "2"]), "column reward is of type string, must be number"),
    "no row": ({k: pa.array(v).slice(0, 0) for k, v in COLUMNS.items()}, "holds no row"),
    "NaN reward": (changed(reward=[0.0, math.nan, 1.0]), "row 1, column reward: is not a finite number"),
    "empty reward": (changed(reward=[0.0, None, 1.0]), "row 1, column reward: is empty.*outcome_known"),
    "empty text": (changed(action=["heat", "heat", None]), "row 2, column action: is empty"),
    "positive log-probability": (
        changed(behavior_logp=[-1.0, None, 0.5]),
        "row 2, column behavior_logp: .*not above 0",
    ),
    "infinite log-probability": (
        changed(behavior_logp=[-1.0, -math.inf, None]),
        "row 1, column behavior_logp: .*finite",
    ),
    "positive among loggers": (changed(logger_logps=[[-1.0], [-1.0], [2.0]]), "row 2, column logger_logps"),
    "logger_logps without header": (
        changed(logger_logps=[[-1.0]] * 3),
        "row 0, column logger_logps: the header names 0",
    ),
    "negative token": (changed(action_tokens=[[1, 2], None, [-3]]), "row 2, column action_tokens: holds a negative"),
    "duplicate id": (changed(episode_id=["a", "b", "a"], turn=[0, 0, 0]), "row 2, column episode_id: 'a' occurs twice"),
    "duplicate id side by side": (changed(episode_id=["a"] * 3), "row 2, column episode_id: 'a' occurs twice"),
    "turns do not count": (changed(turn=[0, 2, 0]), "row 1, column turn"),
    "goal changes": (changed(goal=["x", "y", "x"]), "row 1, column goal: changes within an episode"),
    "metadata not JSON": (changed(metadata=["{", "{", None]), "row 0, column metadata: is not JSON"),
    "metadata no object": (changed(metadata=["[]", "[]", None]), "row 0, column metadata: must be a JSON object"),
}


@pytest.mark.parametrize("name", BAD_PARQUET)
def test_bad_parquet_is_refused_with_file_row_and_column(name: str, tmp_path: Path) -> None:
    columns, message = BAD_PARQUET[name]
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=message) as caught:
        read_log(path)
    assert str(path) in str(caught.value)


def _cut(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


@pytest.mark.parametrize("damage", [_cut, lambda _: b"", lambda _: b"junk" * 99, lambda _: b"\x80\x04pickle"])
def test_a_damaged_parquet_file_is_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    write_parquet(
        LoggedDataset("t", ("gpt",), 1.0, 5, (Trajectory("a", "i", "g", (Step("o", "a", 1.0),), logger="gpt"),)), path
    )
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=re.escape(str(path))):
        read_log(path)


def test_no_flipped_byte_goes_unnoticed(tmp_path: Path) -> None:
    """Most are refused; a few sit in statistics and the like, which nothing reads. None changes what is read."""
    data = realistic(4)
    write_parquet(data, tmp_path / "log.parquet")
    whole = (tmp_path / "log.parquet").read_bytes()
    refused = 0
    positions = range(0, len(whole), 41)
    for i in positions:
        (tmp_path / "flipped.parquet").write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        try:
            assert read_log(tmp_path / "flipped.parquet") == data
        except DataError:
            refused += 1
    assert refused > len(positions) / 2


def test_text_that_is_not_utf8_inside_parquet_is_refused(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 3, pa.array([b"ok", b"\xff\xfe", b"ok"], pa.binary()).buffers())
    pq.write_table(pa.table(changed(goal=None) | {"goal": broken}), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"log\.parquet: .*not UTF-8"):
        read_log(tmp_path / "log.parquet")


def test_a_parquet_header_of_another_version_is_refused(tmp_path: Path) -> None:
    table = pa.table(COLUMNS).replace_schema_metadata({"ope-log": json.dumps({**HEADER, "version": 7})})
    pq.write_table(table, tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"log\.parquet, schema metadata 'ope-log': version: Input should be 1"):
        read_log(tmp_path / "log.parquet")


def test_an_unknown_outcome_is_counted_and_never_scored(tmp_path: Path) -> None:
    unknown = episode({"reward": None}, id="b", outcome_known=False)
    (tmp_path / "log.jsonl").write_bytes(lines(EPISODE, unknown))
    columns = changed(reward=[0.0, 1.0, None], outcome_known=[True, True, False])
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    for name in ("log.jsonl", "log.parquet"):
        log = read_canonical(tmp_path / name)
        assert [t.id for t in log.episodes] == ["a"]
        assert sum(log.dropped.values()) == 1
        with pytest.raises(DataError, match="no outcome.*import"):
            read_log(tmp_path / name)


@pytest.mark.parametrize("write, name", [(write_jsonl, "log.jsonl"), (write_parquet, "log.parquet")])
def test_a_failed_write_leaves_what_was_there(write: Callable[..., None], name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"precious")
    step = Step("half a pair \ud800", "act", 1.0)
    bad = LoggedDataset("t", ("gpt",), 1.0, 5, (Trajectory("a", "i", "g", (step,), logger="gpt"),))
    with pytest.raises(DataError, match=re.escape(str(path))):
        write(bad, path)
    good = bad.with_trajectories([Trajectory("a", "i", "g", (Step("o", "act", 1.0),), logger="gpt")])
    with pytest.raises(DataError, match="NaN|nan|JSON"):
        write(good, path, {"a": Extras(metadata={"x": math.nan})})
    assert path.read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with pytest.raises(DataError, match="cannot be written"):
        write(good, path / "below-a-file.parquet")
