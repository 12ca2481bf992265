"""WebArena's own render_<task>.html, one per episode, with its PASS / FAIL log or another table of outcomes beside it.

The pages hold no outcome: it comes from `tasks.webarena.outcomes`, and episodes without one are dropped. Texts in the
pages are not escaped, so they are cut out between the writer's own marks, never parsed as HTML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.data import Step, Trajectory
from bench.errors import DataError
from bench.formats.building import LogBuilder
from bench.formats.files import Member, heads, members
from bench.formats.json_text import decoded
from bench.formats.log import Extras, Import
from tasks.webarena.canonical import NONE, canonical_webarena
from tasks.webarena.logged import CRASHED, NO_OUTCOME, NO_STEP, labels, place
from tasks.webarena.outcomes import Outcomes

_PAGE = re.compile(r"<h2>New Page</h2>\s*<h3 class='url'>")
_URL = re.compile(r"<a href=.*?>URL: (.*?)</a>", re.S)
_SEEN, _SEEN_END = "<div class='state_obv'><pre>", "</pre><div>"
_ACTED = "<div class='prev_action'"
_WROTE = re.compile(r"<div class='raw_parsed_prediction'[^>]*><pre>(.*?)</pre></div><div class='action_object'", re.S)
_PARSED = re.compile(r"<div class='parsed_action'[^>]*><pre>(.*?)</pre></div>", re.S)
_CONFIG = re.compile(r"^(task_id|intent): (.*?)(?=\n[a-z_]+: |\n?</pre>)", re.M | re.S)
_FORCED = re.compile(r"^stop \[(Early stop: .*|ERROR: .*)\]$", re.S)
_MARK = re.compile(rb"<pre>sites: |<h2>New Page</h2>\s*<h3 class='url'>")
_NOTES = (
    "rewards are WebArena's verdict (1 pass, 0 fail) at the last step",
    "actions are all the agent wrote, reasoning included; action_canonical is verb, role, name and text",
    "a stop that the harness forced (parse failures, repetition) is no action of the agent: the episode is truncated",
)


@dataclass(frozen=True, slots=True)
class _Turn:
    """One page and what the agent did there."""

    observation: str
    wrote: str
    parsed: str


@dataclass(frozen=True, slots=True)
class _Episode:
    folder: PurePosixPath
    task: str
    goal: str
    turns: tuple[_Turn, ...]


def sniff(path: Path) -> bool:
    """Whether `path` holds such pages."""
    return any(_is_page(name, head) for name, head in heads(path))


def _is_page(name: str, head: bytes) -> bool:
    return name.removesuffix(".gz").endswith(".html") and _MARK.search(head) is not None


def read(path: Path) -> Import:
    """Reads them; the folder is the agent.

    Raises:
        DataError: naming file and line.
    """
    builder, outcomes = LogBuilder("WebArena render_*.html", *_NOTES), Outcomes()
    episodes = []
    for member in members(path):
        if _is_page(member.name, member.content):
            episodes.append(_episode(member))
        elif not outcomes.add(member):
            builder.pass_over(member.name)
    agents = labels(episode.folder for episode in episodes)
    for episode in episodes:
        _add(builder, episode, agents[episode.folder], outcomes)
    return builder.log()


def _episode(member: Member) -> _Episode:
    text = decoded(member)
    pages = list(_PAGE.finditer(text))
    config = dict(_CONFIG.findall(text, 0, pages[0].start() if pages else len(text)))
    if not config.keys() >= {"task_id", "intent"}:
        raise DataError(f"{member.name}, line 1: no task_id and intent before the first page; the file is damaged.")
    ends = [*(page.start() for page in pages[1:]), len(text)]
    turns = tuple(_turn(member.name, text, p.end(), end) for p, end in zip(pages, ends, strict=True))
    return _Episode(place(member.name).parent, config["task_id"].strip(), config["intent"].strip(), turns)


def _turn(name: str, text: str, start: int, end: int) -> _Turn:
    block = text[start:end]
    seen, acted = block.find(_SEEN), block.rfind(_ACTED)
    closed = block.rfind(_SEEN_END, 0, acted)
    url, wrote, parsed = _URL.search(block), _WROTE.search(block, acted), _PARSED.findall(block)
    if min(seen, acted, closed) < 0 or url is None or wrote is None or not parsed:
        line = text.count("\n", 0, start) + 1
        raise DataError(f"{name}, line {line}: this page has no complete observation and action; the file is cut off.")
    observation = block[seen + len(_SEEN) : closed]
    return _Turn(f"{observation}\nURL: {url[1]}", wrote[1].strip(), parsed[-1].strip())


def _add(builder: LogBuilder, episode: _Episode, agent: str, outcomes: Outcomes) -> None:
    forced = _FORCED.match(episode.turns[-1].parsed) if episode.turns else None
    turns = episode.turns[:-1] if forced else episode.turns
    if forced and forced[1].startswith("ERROR"):
        return builder.drop(CRASHED)
    if not turns:
        return builder.drop(NO_STEP)
    reward = outcomes.reward(episode.folder, episode.task, agent)
    if reward is None:
        return builder.drop(NO_OUTCOME)
    last, stopped = len(turns) - 1, turns[-1].parsed.startswith("stop")
    steps = tuple(Step(t.observation, t.wrote or t.parsed, reward if i == last else 0.0) for i, t in enumerate(turns))
    trajectory = Trajectory(
        id=f"{agent}/webarena.{episode.task}",
        instance=f"webarena.{episode.task}",
        goal=episode.goal,
        steps=steps,
        final_observation=episode.turns[-1].observation if forced else None,
        terminated=stopped,
        truncated=not stopped,
        logger=agent,
    )
    metadata = {"success": reward == 1, **({"early_stop": forced[1]} if forced else {})}
    builder.add(trajectory, Extras(tuple(map(_canonical, turns)), tuple(map(_thought, turns)), metadata))


def _canonical(turn: _Turn) -> str:
    return NONE if turn.parsed == "none" else canonical_webarena(turn.parsed, turn.observation)


def _thought(turn: _Turn) -> str | None:
    before, fence, _ = turn.wrote.partition("```")
    return before.strip() or None if fence else None
