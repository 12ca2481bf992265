"""WebArena's task configs: reads the official 812 as they are, and our own, which say their world besides."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bench.errors import DataError
from bench.formats.files import members
from bench.formats.json_text import checked, documents
from tasks.webarena.selectors import parsed
from tasks.webarena.site import HOSTS

EVALUATORS = ("string_match", "url_match", "program_html")
STRING_MATCHES = ("exact_match", "must_include")
"""Answers that can be scored without a language model."""


class HtmlCheck(BaseModel):
    """What must stand on a page at the end."""

    model_config = ConfigDict(extra="allow")

    url: str
    locator: str
    required_contents: dict[str, Any]


class Evaluation(BaseModel):
    """How an episode is scored."""

    model_config = ConfigDict(extra="allow")

    eval_types: list[str] = Field(min_length=1)
    reference_answers: dict[str, Any] | None = None
    reference_url: str | None = None
    program_html: list[HtmlCheck] | None = None
    url_note: str = "GOLD in PRED"


class WebTask(BaseModel):
    """One config."""

    model_config = ConfigDict(extra="allow")

    sites: list[str]
    task_id: int
    start_url: str
    intent: str
    eval: Evaluation
    intent_template: str = ""
    intent_template_id: int | None = None
    instantiation_dict: dict[str, Any] = Field(default_factory=dict)
    world: str = "webarena"
    """Our own field: the world (content of the sites) a task is asked in, see `tasks.webarena.content`."""

    @property
    def instance(self) -> str:
        """Its name as a task instance."""
        return f"{self.world}/{self.task_id}"

    def unplayable(self) -> str | None:
        """Why our sites and evaluators cannot play or score it; None where they can."""
        strange = [site for site in self.sites if site not in HOSTS]
        if strange:
            return f"needs the site {strange[0]}; ours are {', '.join(HOSTS)}"
        unknown = [kind for kind in self.eval.eval_types if kind not in EVALUATORS]
        if unknown:
            return f"asks for the evaluator {unknown[0]!r}; there are {', '.join(EVALUATORS)}"
        scores = {"string_match": self._answers, "url_match": self._address, "program_html": self._pages}
        return next((reason for kind in self.eval.eval_types if (reason := scores[kind]())), None)

    def _answers(self) -> str | None:
        references = self.eval.reference_answers or {}
        kinds = [kind for kind in references if kind not in STRING_MATCHES]
        if kinds:
            return f"scores answers by {kinds[0]}, which needs a language model"
        return _empty(references, "reference_answers")

    def _address(self) -> str | None:
        if self.eval.url_note != "GOLD in PRED":
            return f"matches addresses by the unknown rule {self.eval.url_note!r}"
        return None if self.eval.reference_url else "matches addresses, but has no reference_url: every page would pass"

    def _pages(self) -> str | None:
        checks = self.eval.program_html or []
        if not checks:
            return "scores pages, but program_html has no check: every page would pass"
        return next((reason for reason in map(_unsupported, checks) if reason), None)


def _unsupported(check: HtmlCheck) -> str | None:
    """Why a check of a page cannot be made here; None where it can."""
    if "func:" in check.url or "func:" in check.locator:
        return "scores by a function of WebArena's own servers"
    if check.locator.strip() and parsed(check.locator) is None:
        return f"scores by the locator {check.locator!r}, which is not supported"
    kinds = [kind for kind in check.required_contents if kind not in STRING_MATCHES]
    if kinds:
        return f"scores pages by {kinds[0]}, which is not supported"
    return _empty(check.required_contents, "required_contents")


def _empty(references: Mapping[str, Any], name: str) -> str | None:
    """Why references ask for nothing, or not for what they seem to."""
    if not references:
        return f"has no {name}: every answer would pass"
    wanted = references.get("must_include")
    if "must_include" in references and not (isinstance(wanted, list) and wanted):
        return f"has must_include {wanted!r} in {name}: it must be a list that is not empty"
    return None


def resolved(url: str) -> str:
    """An address with WebArena's placeholders (`__SHOPPING__`) replaced by our hosts."""
    for site, host in HOSTS.items():
        url = url.replace(f"__{site.upper()}__", host)
    return url


def read_configs(path: Path | str) -> list[WebTask]:
    """Reads a JSON file that is a config or a list of them, or a folder of such files.

    Raises:
        DataError: naming file and line.
    """
    tasks: dict[str, WebTask] = {}
    for member in members(Path(path)):
        for where, value in documents(member):
            for number, raw in enumerate(value if isinstance(value, list) else [value]):
                task = checked(WebTask, raw, f"{where}, config {number}")
                if task.instance in tasks:
                    raise DataError(f"{where}, config {number}: task {task.instance} occurs twice.")
                tasks[task.instance] = task
    return list(tasks.values())


def write_configs(tasks: Iterable[WebTask | Mapping[str, Any]], path: Path) -> None:
    """Writes configs as one JSON list, in the schema they are read in."""
    raw = [task.model_dump() if isinstance(task, WebTask) else dict(task) for task in tasks]
    path.write_text(json.dumps(raw, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
