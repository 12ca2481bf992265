"""Wikipedia as agents meet it in HotpotQA: search, look up, finish, over the paragraphs of one question.

Two dialects of the same environment, with their exact observation texts:
- `react`: WikiEnv of ReAct (Yao et al., ICLR 2023, `wikienv.py` and `wrappers.py`). A page shows its first 5 sentences,
  a lookup shows the next sentence that contains the keyword.
- `docstore`: LangChain's DocstoreExplorer, as Reflexion, ExpeL and BOLAA drive it. A page shows its first paragraph
  (here its only one), a lookup the next paragraph that contains the keyword.

The world is closed: a page is found by its title (case, punctuation and articles do not matter), everything else is not
found and answered with similar titles among the question's own pages. Values measured here are therefore not those of
agents that search the live Wikipedia.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from typing import Literal, Protocol

from tasks.hotpotqa.answers import exact_match, f1, normalize
from tasks.hotpotqa.questions import Paragraph, Question

STEP_LIMIT = 7
"""Steps an agent may take per episode (ReAct). The runner applies it; the environment itself has no limit."""
VERSION = "hotpotqa paragraphs 1"
"""Version of the environment's texts and rules."""

SHOWN_SENTENCES = 5
TITLE_WEIGHT = 3.0
Dialect = Literal["react", "docstore"]
Reward = Literal["f1", "em"]
_ACTION = re.compile(r"(\w+)\[(.*)\]", re.S)


class Pages:
    """The pages of one question: found by title, or suggested for what is no title."""

    def __init__(self, paragraphs: Iterable[Paragraph]):
        self._pages = {page.title: page for page in paragraphs}
        self._by_name: dict[str, Paragraph] = {}
        for title, page in self._pages.items():
            self._by_name.setdefault(normalize(title), page)

    def find(self, entity: str) -> Paragraph | None:
        """The page of this title; an equal spelling wins over one that is equal once normalized."""
        return self._pages.get(entity.strip()) or self._by_name.get(normalize(entity))

    def similar(self, entity: str, most: int) -> list[str]:
        """Titles of the pages that share words with the query, by inverse document frequency, titles weighing more."""
        scores: Counter[str] = Counter()
        for word in normalize(entity).split():
            found = [(title, word in named) for title, named, words in self._words if word in words]
            for title, in_title in found:
                rarity = math.log(1 + len(self._words) / len(found))
                scores[title] += rarity * (TITLE_WEIGHT if in_title else 1.0)
        return [title for title, _ in sorted(scores.items(), key=lambda entry: -entry[1])[:most]]

    @cached_property
    def _words(self) -> list[tuple[str, frozenset[str], frozenset[str]]]:
        """Every title with its words, and the words of title and page."""
        words: list[tuple[str, frozenset[str], frozenset[str]]] = []
        for title, page in self._pages.items():
            named = frozenset(normalize(title).split())
            words.append((title, named, named | frozenset(normalize("".join(page.sentences)).split())))
        return words


class _Reader(Protocol):
    """What a dialect answers, and what it remembers between actions."""

    def search(self, pages: Pages, entity: str) -> str: ...

    def lookup(self, keyword: str) -> str: ...

    def other(self, verb: str | None, action: str) -> str: ...

    def finish(self, correct: bool) -> str: ...


class _React:
    """WikiEnv. A search that finds nothing leaves page and lookups as they were."""

    def __init__(self) -> None:
        self._sentences: tuple[str, ...] = ()
        self._keyword: str | None = None
        self._found: list[str] = []
        self._shown = 0

    def search(self, pages: Pages, entity: str) -> str:
        page = pages.find(entity)
        if page is not None and any("may refer to:" in sentence for sentence in page.sentences):
            page, entity = None, f"[{entity}]"  # a disambiguation page: WikiEnv asks again, in brackets
        if page is None:
            return f"Could not find {entity}. Similar: {pages.similar(entity, 5)}."
        self._sentences = tuple(s.strip() for s in page.sentences if s.strip())
        self._keyword = None
        return " ".join(self._sentences[:SHOWN_SENTENCES])

    def lookup(self, keyword: str) -> str:
        if self._keyword != keyword:
            self._keyword, self._shown = keyword, 0
            self._found = [s for s in self._sentences if keyword.lower() in s.lower()]
        if self._shown >= len(self._found):
            return "No more results.\n"
        self._shown += 1
        return f"(Result {self._shown} / {len(self._found)}) {self._found[self._shown - 1]}"

    def other(self, verb: str | None, action: str) -> str:
        return "Nice thought." if verb == "think" else f"Invalid action: {action}"

    def finish(self, correct: bool) -> str:
        return f"Episode finished, reward = {int(correct)}\n"


class _Docstore:
    """DocstoreExplorer. A search that finds nothing closes the page; a new search does not restart a lookup."""

    def __init__(self) -> None:
        self._page: str | None = None
        self._keyword, self._shown = "", 0

    def search(self, pages: Pages, entity: str) -> str:
        page = pages.find(entity)
        if page is None:
            self._page = None
            return f"Could not find [{entity}]. Similar: {pages.similar(entity, 10)}"
        self._page = "".join(page.sentences).strip()
        return self._page

    def lookup(self, keyword: str) -> str:
        if self._page is None:
            return (
                "The last page Searched was not found, so you cannot Lookup a keyword in it. "
                "Please try one of the similar pages given."
            )
        if keyword.lower() != self._keyword:
            self._keyword, self._shown = keyword.lower(), 0
        else:
            self._shown += 1
        if self._keyword not in self._page.lower():
            return "No Results"
        return f"(Result 1/1) {self._page}" if self._shown == 0 else "No More Results"

    def other(self, verb: str | None, action: str) -> str:
        return "Invalid Action. Valid Actions are Lookup[<topic>] Search[<topic>] and Finish[<answer>]."

    def finish(self, correct: bool) -> str:
        return f"Answer is {'CORRECT' if correct else 'INCORRECT'}"


class WikipediaEnvironment:
    """One episode at a time over a fixed set of questions; instances are question ids.

    Args:
        questions: what can be asked.
        dialect: whose observation texts, see the module.
        reward: earned by `finish`, `f1` of the answer or `em`, its exact match (0 or 1). The text that closes an
            episode names the exact match in either case, as the original does.
    """

    def __init__(self, questions: Iterable[Question], dialect: Dialect = "react", reward: Reward = "f1"):
        if dialect not in ("react", "docstore") or reward not in ("f1", "em"):
            raise ValueError(f"dialect {dialect!r}, reward {reward!r}: expected react or docstore, and f1 or em.")
        self.questions = {question.id: question for question in questions}
        self.dialect, self.reward = dialect, reward
        self._pages: dict[str, Pages] = {}
        self._question: Question | None = None
        self._reader: _Reader | None = None

    def reset(self, instance: str) -> tuple[str, str]:
        """Starts an episode.

        Args:
            instance: id of a question.

        Returns:
            The question, and the first observation, which repeats it as ReAct's wrapper does.

        Raises:
            ValueError: there is no such question.
        """
        if instance not in self.questions:
            raise ValueError(f"no question {instance!r} among the {len(self.questions)} of this environment.")
        self._question = self.questions[instance]
        if instance not in self._pages:
            self._pages[instance] = Pages(self._question.paragraphs)
        self._reader = _React() if self.dialect == "react" else _Docstore()
        return self._question.question, f"Question: {self._question.question}"

    def step(self, action: str) -> tuple[str, float, bool]:
        """Takes one action: `search[...]`, `lookup[...]` or `finish[...]`, in any case.

        Returns:
            The observation; the reward, 0 for every action but `finish`; and whether the episode ended.

        Raises:
            RuntimeError: no episode is running.
        """
        if self._question is None or self._reader is None:
            raise RuntimeError(f"step({action!r}): no episode is running; call reset(instance) first.")
        action = action.strip()
        match = _ACTION.fullmatch(action)
        verb, argument = (match[1].lower(), match[2]) if match else (None, "")
        if verb == "search":
            return self._reader.search(self._pages[self._question.id], argument), 0.0, False
        if verb == "lookup":
            return self._reader.lookup(argument), 0.0, False
        if verb == "finish":
            correct = exact_match(argument, self._question.answer)
            reward = f1(argument, self._question.answer) if self.reward == "f1" else float(correct)
            observation = self._reader.finish(correct)
            self._question = self._reader = None
            return observation, reward, True
        return self._reader.other(verb, action), 0.0, False

    def close(self) -> None:
        """Holds nothing that must be freed."""
