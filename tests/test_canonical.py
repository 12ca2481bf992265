"""The canonical log: exact round trips between its two forms, folders, sizes, and a manual whose examples work."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.canonical import Extras, read_canonical, read_log, write_jsonl, write_parquet
from bench.data import LoggedDataset, Step, Trajectory
from bench.errors import DataError
from tests.canonical_logs import EPISODE, HEADER, episode, lines, realistic

DOCS = Path(__file__).resolve().parent.parent / "docs" / "bring-your-logs.md"
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
NAME = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
SINGLE = st.floats(-50, 0, width=32)
LOGP = SINGLE | st.floats(-800, 0)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def logs(draw: st.DrawFn) -> tuple[LoggedDataset, dict[str, Extras]]:
    """A small ragged data set that uses or leaves out everything optional, and extras for some of its episodes."""
    loggers = tuple(draw(st.lists(NAME, min_size=1, max_size=3, unique=True)))
    lists_of_logps = st.none() | st.lists(LOGP, min_size=len(loggers), max_size=len(loggers)).map(tuple)
    tokens = st.none() | st.lists(st.integers(0, 2**31 - 1), max_size=4).map(tuple)
    finite = st.floats(allow_nan=False, allow_infinity=False)
    step = st.builds(Step, TEXT, TEXT, finite, tokens, st.none() | LOGP, lists_of_logps)
    trajectories, extras = [], {}
    for name in draw(st.lists(NAME, min_size=1, max_size=4, unique=True)):
        steps = tuple(draw(st.lists(step, min_size=1, max_size=4)))
        final, logger = draw(st.none() | TEXT), draw(st.sampled_from(loggers))
        own = loggers.index(logger)  # both records of the logger's own log-probability must agree
        steps = tuple(
            s if None in (s.behavior_logp, s.logger_logps) else replace(s, behavior_logp=s.logger_logps[own])
            for s in steps
        )
        flags = draw(st.booleans()), draw(st.booleans())
        trajectories.append(Trajectory(name, draw(TEXT), draw(TEXT), steps, final, *flags, logger))
        texts = st.tuples(*[st.none() | TEXT] * len(steps))
        extra = Extras(draw(texts), draw(texts), draw(st.dictionaries(TEXT, JSON, max_size=3)))
        if extra and draw(st.booleans()):
            extras[name] = extra
    gamma, horizon = draw(st.floats(0.01, 1)), draw(st.integers(4, 100))
    return LoggedDataset(draw(NAME), loggers, gamma, horizon, tuple(trajectories), draw(st.booleans())), extras


def bits(data: LoggedDataset) -> list[Any]:
    """Every float as its bytes: tells 0.0 from -0.0."""
    floats = [
        x for t in data.trajectories for s in t.steps for x in (s.reward, s.behavior_logp, *(s.logger_logps or ()))
    ]
    return [None if x is None else struct.pack("<d", x) for x in floats]


@settings(max_examples=40, deadline=None)
@given(pair=logs())
def test_both_forms_give_back_what_was_written_bit_for_bit(
    pair: tuple[LoggedDataset, dict[str, Extras]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data, extras = pair
    folder = tmp_path_factory.mktemp("round")
    previous = data
    for name, write in (
        ("a.parquet", write_parquet),
        ("b.jsonl", write_jsonl),
        ("c.jsonl.gz", write_jsonl),
        ("d.parquet", write_parquet),
    ):
        write(previous, folder / name, extras)
        log = read_canonical(folder / name)
        back = log.dataset()
        assert back == data
        assert bits(back) == bits(data)
        assert back.fingerprint == data.fingerprint
        assert {k: padded(v, data, k) for k, v in log.extras.items()} == {
            k: padded(v, data, k) for k, v in extras.items()
        }
        assert type(back.trajectories[0].steps[0].reward) is float
        previous = back


def padded(extra: Extras, data: LoggedDataset, name: str) -> Extras:
    """Nothing said about any step, in one way of saying it."""
    empty = (None,) * len(next(t for t in data.trajectories if t.id == name))
    return Extras(extra.action_canonical or empty, extra.thought or empty, extra.metadata)


def test_a_folder_is_one_log_and_ids_are_unique_across_its_files(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_bytes(lines(HEADER, EPISODE))
    (tmp_path / "2.jsonl").write_bytes(lines({**HEADER, "loggers": ["claude"]}, episode(id="b", logger="claude")))
    data = read_log(tmp_path)
    assert data.loggers == ("gpt", "claude")
    assert [t.id for t in data.trajectories] == ["a", "b"]
    (tmp_path / "3.jsonl").write_bytes(lines(HEADER, EPISODE))
    with pytest.raises(DataError, match=r"3\.jsonl: episode id 'a' is also in .*1\.jsonl"):
        read_log(tmp_path)
    (tmp_path / "3.jsonl").write_bytes(lines({**HEADER, "task": "frying"}, episode(id="c")))
    with pytest.raises(DataError, match="differ in task"):
        read_log(tmp_path)


def test_canonical_actions_replace_raw_ones_and_take_their_log_probabilities_away(tmp_path: Path) -> None:
    told = {"action_canonical": "heat(water)", "behavior_logp": -1.0, "action_tokens": [1]}
    (tmp_path / "log.jsonl").write_bytes(lines(episode(told), episode({"behavior_logp": -1.0}, id="b")))
    raw, normal = (read_log(tmp_path / "log.jsonl", actions=a) for a in ("raw", "canonical"))
    assert [t.steps[0].action for t in raw.trajectories] == ["heat", "heat"]
    assert normal.trajectories[0].steps[0] == Step("kitchen", "heat(water)", 1.0)
    assert normal.trajectories[1] == raw.trajectories[1]


def test_log_probabilities_are_stored_in_single_precision_only_where_that_is_exact(tmp_path: Path) -> None:
    for value, kind in ((float(np.float32(-0.1)), pa.float32()), (-0.1, pa.float64())):
        steps = (Step("o", "a", 1.0, None, value, (value,)), Step("o", "a", 1.0))
        write_parquet(
            LoggedDataset("t", ("x",), 1.0, 5, (Trajectory("a", "i", "g", steps, logger="x"),)), tmp_path / "l.parquet"
        )
        schema = pq.read_schema(tmp_path / "l.parquet")
        assert (schema.field("behavior_logp").type, schema.field("logger_logps").type.value_type) == (kind, kind)
        assert read_log(tmp_path / "l.parquet").trajectories[0].steps == steps


def test_parquet_is_small(tmp_path: Path) -> None:
    data = realistic(300)
    write_parquet(data, tmp_path / "log.parquet")
    steps = sum(map(len, data.trajectories))
    incompressible = 3 * 4  # the log-probabilities are noise here; the fourth is a copy of one of the three
    assert (tmp_path / "log.parquet").stat().st_size < (incompressible + 4 + 25) * steps


def _examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)


@pytest.mark.parametrize("number", [0, 1])
def test_jsonl_examples_of_the_manual(number: int, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(_examples("jsonl")[number], encoding="utf-8")
    data = read_log(tmp_path / "log.jsonl")
    assert data.has_propensities == (number == 0)
    assert len(data) == (2, 1)[number]
    assert data.trajectories[0].rewards.sum() == 1.0


def test_python_examples_of_the_manual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet, usage, _ = _examples("python")
    monkeypatch.chdir(tmp_path)
    exec(parquet, {})
    exec(usage, {})
    assert read_log("log.parquet") == read_log("log.jsonl.gz") == read_log("copy.parquet")


def test_the_manual_names_every_field() -> None:
    from bench.formats.jsonl import EpisodeLine, HeaderLine, StepObject

    text = DOCS.read_text(encoding="utf-8")
    fields = {name for model in (HeaderLine, EpisodeLine, StepObject) for name in model.model_fields}
    assert {f for f in fields if f"`{f}`" not in text} == set()


def test_two_records_of_one_log_probability_must_agree(tmp_path):
    steps = (Step("o", "a", 0.0, None, -0.3, (-0.5, -2.0)),)
    data = LoggedDataset("t", ("x", "y"), 1.0, 3, (Trajectory("e", "i", "g", steps, "end", True, False, "x"),))
    for name, write in (("log.parquet", write_parquet), ("log.jsonl", write_jsonl)):
        write(data, tmp_path / name)
        with pytest.raises(DataError, match=r"steps\[0\]: behavior_logp is -0.3.*-0.5.*'x'"):
            read_log(tmp_path / name)
