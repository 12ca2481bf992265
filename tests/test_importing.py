"""`import`: formats are recognized, what was understood is said, and a failed import leaves everything as it was."""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
import tarfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import run_bench
from bench import importing
from bench.canonical import Extras, read_log, write_jsonl, write_parquet
from bench.data import LoggedDataset, Step, Trajectory
from bench.errors import BenchError, DataError, UnknownNameError
from bench.formats.building import DUPLICATE, LogBuilder
from bench.importing import Format, import_log, read_any

DOCS = Path(__file__).resolve().parent.parent / "docs" / "bring-your-logs.md"


def log(logp: float | None = -1.0, rewards: tuple[float, ...] = (0.0, 1.0), task: str = "toy_chain") -> LoggedDataset:
    steps = tuple(Step("room", "go", r, None, logp) for r in rewards)
    made = [
        Trajectory(f"{a}/{i}", f"house {i}", "open", steps, None, i == 0, i > 0, a)
        for a in ("ann", "bob")
        for i in range(3)
    ]
    return LoggedDataset(task, ("ann", "bob"), 1.0, 5, tuple(made))


def facts(text: str) -> dict[str, list[str]]:
    """The summary by the name of the fact."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        found.setdefault(line[:13].strip(), []).append(line[13:])
    return found


def test_a_canonical_log_is_imported_whole(tmp_path: Path) -> None:
    write_jsonl(
        log(),
        tmp_path / "log.jsonl",
        {"ann/0": Extras(metadata={"success": True}), "bob/0": Extras(metadata={"success": False})},
    )
    told = facts(import_log(tmp_path / "log.jsonl", None, tmp_path / "new" / "out.parquet"))
    assert read_log(tmp_path / "new" / "out.parquet") == log()
    assert told["format"] == ["canonical JSONL"]
    assert told["task"] == ["toy_chain; horizon 5, gamma 1"]
    assert told["episodes"] == ["6 on 3 instances, 12 steps"]
    assert told["length"] == ["min 2, median 2, mean 2.00, max 2"]
    assert told["return"] == ["mean 1, min 1, max 1"]
    assert told["success"] == ["50.0% of the 2 episodes that record it"]
    assert told["logger"] == [f"{name}  3 episodes, mean length 2.00, mean return 1" for name in ("ann", "bob")]
    assert told["ended"] == ["33.3% terminated, 66.7% truncated (cut short, which is no failure)"]
    assert told["propensities"] == ["recorded for every step"]
    assert "refuse" not in told["estimators"][0]
    assert told["dropped"] == ["nothing"]


def test_the_summary_names_the_estimators_that_will_refuse(tmp_path: Path) -> None:
    write_parquet(log(logp=None), tmp_path / "log.parquet")
    told = facts(import_log(tmp_path / "log.parquet", "toy_chain", tmp_path / "out.parquet"))
    assert told["propensities"] == ["absent"]
    able, refusing = told["estimators"][0].split("; refuse it for lack of propensities: ")
    assert "behavior_average" in able
    assert "importance_sampling" in refusing
    assert "importance_sampling" not in able


def test_the_summary_says_what_kind_of_rewards_there_are(tmp_path: Path) -> None:
    kinds = {
        (0.0, 1.0): "only final scores",
        (0.5, 0.5): "nonzero at 100.0%",
        (0.0, 0.0): "0 at every step: all episodes are alike",
    }
    for rewards, words in kinds.items():
        write_parquet(log(rewards=rewards), tmp_path / "log.parquet")
        assert words in facts(import_log(tmp_path / "log.parquet", None, tmp_path / "out.parquet"))["reward"][0]


def test_episodes_without_outcome_are_dropped_and_counted(tmp_path: Path) -> None:
    write_jsonl(log(), tmp_path / "log.jsonl")
    lost = {
        "id": "x",
        "instance": "i",
        "goal": "g",
        "logger": "ann",
        "terminated": False,
        "truncated": True,
        "outcome_known": False,
    }
    lost["steps"] = [{"observation": "room", "action": "go"}]
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write(json.dumps(lost) + "\n")
    told = facts(import_log(tmp_path / "log.jsonl", None, tmp_path / "out.parquet"))
    assert told["dropped"] == ["1: no outcome (outcome_known is false)"]
    assert read_log(tmp_path / "out.parquet") == log()


def _nan(path: Path) -> None:
    path.write_text(path.read_text().replace("1.0}", "NaN}", 1))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _twice(path: Path) -> None:
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1])


@pytest.mark.parametrize("damage, place", [(_nan, "line 2"), (_cut, "line 7"), (_twice, "line 8")])
def test_a_failed_import_leaves_the_output_as_it_was(
    damage: Callable[[Path], None], place: str, tmp_path: Path
) -> None:
    write_jsonl(log(logp=None), tmp_path / "log.jsonl")
    damage(tmp_path / "log.jsonl")
    (tmp_path / "out.parquet").write_bytes(b"precious")
    with pytest.raises(DataError, match=rf"log\.jsonl, {place}"):
        import_log(tmp_path / "log.jsonl", None, tmp_path / "out.parquet")
    assert (tmp_path / "out.parquet").read_bytes() == b"precious"
    assert {p.name for p in tmp_path.iterdir()} == {"log.jsonl", "out.parquet"}


def test_what_cannot_be_read_or_written_is_refused_by_name(tmp_path: Path) -> None:
    good, out = tmp_path / "log.parquet", tmp_path / "out.parquet"
    write_parquet(log(), good)
    (tmp_path / "noise.bin").write_bytes(bytes(range(256)) * 300)
    (tmp_path / "empty").mkdir()
    refused: list[tuple[tuple[Any, ...], type[BenchError], str]] = [
        ((tmp_path / "none.jsonl", None, out), DataError, r"none\.jsonl: no such file"),
        (
            (tmp_path / "noise.bin", None, out),
            DataError,
            r"noise\.bin: not a log in any supported format:\n  canonical: .*\n(  \w+/\w+: .*\n)*  scienceworld/",
        ),
        ((tmp_path / "empty", None, out), DataError, "empty: not a log in any supported format"),
        ((good, "toychain", out), DataError, r"header says task 'toy_chain', not 'toychain'"),
        ((tmp_path / "noise.bin", "toychain", out), UnknownNameError, "Did you mean 'toy_chain'"),
        ((good, None, tmp_path / "out.csv"), DataError, r"out\.csv: .*ends in \.parquet"),
        ((good, None, good), DataError, r"log\.parquet: is the log that is to be read"),
        ((good, None, good / "out.parquet"), DataError, r"out\.parquet: cannot be written"),
    ]
    for arguments, error, message in refused:
        with pytest.raises(error, match=message):
            import_log(*arguments)
    assert not out.exists()
    assert read_log(good) == log()


def test_a_log_without_a_task_takes_the_one_that_is_given(tmp_path: Path) -> None:
    line = {"id": "1", "instance": "i", "goal": "g", "logger": "l", "terminated": True, "truncated": False}
    (tmp_path / "log.jsonl").write_text(
        json.dumps(line | {"steps": [{"observation": "o", "action": "a", "reward": 1}]})
    )
    import_log(tmp_path / "log.jsonl", "toy_chain", tmp_path / "out.parquet")
    assert read_log(tmp_path / "out.parquet").task == "toy_chain"
    with pytest.raises(UnknownNameError, match="toy_chain"):
        import_log(tmp_path / "log.jsonl", "toy_chian", tmp_path / "out.parquet")


def test_formats_are_found_without_naming_them() -> None:
    found = importing.formats()
    assert {(f.task, f.name) for f in found} >= {
        ("scienceworld", n) for n in ("agentboard", "agentsquare", "swiftsage")
    }
    assert all(re.fullmatch(r"\w+/\w+: .+", str(f)) for f in found)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of the manual, as if it lay in tasks/toy_chain/readers/lab.py, alone."""
    source = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)[-1]
    module = types.ModuleType("lab")
    exec(source, module.__dict__)
    monkeypatch.setattr(importing, "formats", lambda: [Format("toy_chain", "lab", module)])


def test_the_reader_of_the_manual(lab: None, tmp_path: Path) -> None:
    (tmp_path / "scores.txt").write_text("# lab scores\nhouse 1,go,0.5\nhouse 2,go,\nhouse 1,stay,0.25\n")
    told = facts(import_log(tmp_path / "scores.txt", None, tmp_path / "out.parquet"))
    assert read_log(tmp_path / "out.parquet").columns.rewards.tolist() == [0.5, 0.25]
    assert told["format"] == ["lab scores"]
    assert told["dropped"] == ["1: no outcome: the score is empty"]
    assert told["note"] == ["the lab logs no observations; they read as empty text here"]
    (tmp_path / "scores.txt").write_text("# lab scores\nhouse 1,go,good\n")
    with pytest.raises(DataError, match=r"scores\.txt, line 2: score 'good'"):
        import_log(tmp_path / "scores.txt", None, tmp_path / "out.parquet")
    (tmp_path / "scores.txt").write_text("# lab scores\nhouse 1,go,nan\n")
    with pytest.raises(DataError, match=r"scores\.txt: .*reward is nan"):
        import_log(tmp_path / "scores.txt", None, tmp_path / "out.parquet")
    (tmp_path / "scores.txt").write_text("# lab scores\nhouse 1,go,\n")
    with pytest.raises(DataError, match=r"scores\.txt: no episode left .*1 dropped: no outcome"):
        import_log(tmp_path / "scores.txt", None, tmp_path / "out.parquet")
    with pytest.raises(
        DataError, match="not a log of task 'scienceworld'; it looks like\n  toy_chain/lab: Scores of the lab"
    ):
        import_log(tmp_path / "scores.txt", "scienceworld", tmp_path / "out.parquet")


def test_archives_in_folders_are_named_not_opened(lab: None, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "scores.txt").write_text("# lab scores\nhouse 1,go,1\n")
    (tmp_path / "in" / "more.tar.gz").write_bytes(b"not even an archive")
    told = facts(import_log(tmp_path / "in", None, tmp_path / "out.parquet"))
    assert told["note"][-1] == "archives inside the folder were not opened, import them on their own: more.tar.gz"


def test_the_builder_tells_duplicates_from_repetitions_and_mends_text() -> None:
    builder = LogBuilder("x")
    for reward in (1.0, 1.0, 0.0):
        builder.add(
            Trajectory("a", "i", "g", (Step("half \ud800", "b", reward),), logger="l"),
            Extras(metadata={"k": ["\udfff"]}),
        )
    builder.pass_over("readme.txt")
    made = builder.log()
    assert [t.id for t in made.episodes] == ["a", "a#2"]
    assert [t.steps[0].reward for t in made.episodes] == [1.0, 0.0]
    assert made.dropped == {DUPLICATE: 1}
    assert made.episodes[0].steps[0].observation == "half \ufffd"
    assert made.extras["a#2"].metadata == {"k": ["\ufffd"]}
    assert any("1 episodes repeat" in note for note in made.notes)
    assert any("readme.txt" in note for note in made.notes)


def test_no_episode_takes_the_place_of_another() -> None:
    builder = LogBuilder("x")
    for name, reward in (("e#2", 1.0), ("e", 2.0), ("e", 3.0)):
        builder.add(Trajectory(name, "i", "g", (Step("o", "a", reward),), logger="l"), Extras())
    assert [(t.id, t.rewards.sum()) for t in builder.log().episodes] == [("e#2", 1.0), ("e", 2.0), ("e#3", 3.0)]


def test_gzipped_files_in_an_archive_are_read(lab: None, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "logs.tar", "w") as archive:
        content = gzip.compress(b"# lab scores\nhouse 1,go,1\n")
        member = tarfile.TarInfo("scores.txt.gz")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    assert len(read_any(tmp_path / "logs.tar", None).episodes) == 1


def test_from_the_front_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_jsonl(log(), tmp_path / "log.jsonl")
    out = tmp_path / "out.parquet"
    monkeypatch.setattr(
        sys, "argv", ["run_bench.py", "import", str(tmp_path / "log.jsonl"), "--task", "toy_chain", "--out", str(out)]
    )
    assert run_bench.main() == 0
    assert "6 on 3 instances" in capsys.readouterr().out
    (tmp_path / "log.jsonl").write_text("{")
    assert run_bench.main() == 2
    assert re.match(r"error: .*log\.jsonl, line 1: ", capsys.readouterr().err)
    assert read_log(out) == log()
