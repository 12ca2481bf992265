"""TextWorld's PDDL engine with ALFWorld's names: the stock engine's text at a fraction of its cost.

The stock engine parses its grammar again for every sentence, copies whole contexts for every word, and translates the
problem twice at every reset. Here parses are kept, contexts are shared, and a reset restores the state of the load. The
rest, the planner's library included, is the stock engine's own; `tests/test_alfworld_live.py` compares the two word for
word. Import this module only where the extra [alfworld] is installed: `tasks.alfworld.live` does, and explains.
"""

from __future__ import annotations

import copy
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import fast_downward
from alfworld.agents.utils.misc import Demangler
from textworld.core import EnvInfos, GameState
from textworld.envs.pddl import PddlEnv
from textworld.envs.pddl import logic as pddl_logic
from textworld.envs.pddl.textgen import (
    ConditionalSymbol,
    ContextSensitiveGrammar,
    EvalSymbol,
    ListSymbol,
    NonterminalSymbol,
    ProductionRule,
    Symbol,
    TerminalSymbol,
)
from textworld.envs.pddl.textgen import _parse_and_convert as parse_sentence
from textworld.logic import Rule

Context = Mapping[str, Any]
_TASK = re.compile(r'"rhs": "Your task is to: ([A-Za-z0-9 ,.]+)"')


@lru_cache(maxsize=65536)
def _symbols(text: str) -> tuple[Symbol, ...]:
    return tuple(parse_sentence(text, rule_name="symbols"))


@lru_cache(maxsize=4096)
def _query(text: str) -> Rule:
    return Rule.parse_conjunctive_query(text)


@lru_cache(maxsize=4096)
def _code(expression: str) -> Any:
    return compile(expression.strip(), "<grammar>", "eval")


class QuickGrammar(ContextSensitiveGrammar):
    """The stock grammar, derived by recursion over parses that are kept."""

    def __init__(self, stock: ContextSensitiveGrammar):
        super().__init__()
        self.update(stock)

    def derive(self, start: str, context: Context | None = None) -> str:
        """See `ContextSensitiveGrammar`."""
        return "".join(self._text(symbol, context or {}) for symbol in _symbols(start))

    def _text(self, symbol: Symbol, context: Context) -> str:
        if isinstance(symbol, TerminalSymbol):
            return str(symbol)
        if isinstance(symbol, NonterminalSymbol):
            return "".join(self._text(part, context) for part in self._rule(str(symbol), context))
        if isinstance(symbol, EvalSymbol):
            return str(eval(_code(symbol.expression), {}, dict(context["variables"])))
        if isinstance(symbol, ListSymbol):
            texts = [self._text(symbol.symbol.expression, found) for found in self._contexts(symbol.symbol, context)]
            return self._enumerate(texts, context)
        if isinstance(symbol, ConditionalSymbol):
            return "".join(self._text(symbol.expression, found) for found in self._contexts(symbol, context))
        raise NotImplementedError(f"a symbol of the grammar that is not known here: {symbol!r}")

    def _rule(self, name: str, context: Context) -> list[Symbol]:
        """The right-hand side of the first rule that applies."""
        for rule in self._rules[name]:
            found = not rule.condition or next(_assignments(rule.condition, context), None) is not None
            if found:
                return rule.rhs
        raise KeyError(f"the grammar has no rule for {name!r} here")

    @staticmethod
    def _contexts(symbol: ConditionalSymbol, context: Context) -> list[Context]:
        if not symbol.given:
            return [context]
        infos, contexts = context["entity_infos"], []
        for mapping in _assignments(symbol.given, context):
            variables = {**context["variables"], **{ph.name: infos[var.name] for ph, var in mapping.items()}}
            contexts.append({**context, "variables": variables, "mapping": {**context["mapping"], **mapping}})
        return contexts

    def _enumerate(self, texts: list[str], context: Context) -> str:
        """`a, b, and c`, in the grammar's own separators."""
        if len(texts) < 2:
            return texts[0] if texts else self.derive("#list_empty#", context)
        separator = self.derive("#list_separator#", context)
        return separator.join(texts[:-1]) + self.derive("#list_last_separator#", context) + texts[-1]


def _assignments(condition: str, context: Context) -> Iterator[Mapping[Any, Any]]:
    return iter(context["state"].all_assignments(_query(condition), context["mapping"]))


class QuickEngine(PddlEnv):
    """The stock environment with ALFWorld's names, reset without a new translation."""

    def load(self, game: Mapping[str, Any]) -> None:
        """Loads a game: `pddl_domain`, `grammar` and `pddl_problem`, as a game.tw-pddl holds them."""
        self._game_file, self._game_data, self.walkthrough = None, dict(game), game.get("walkthrough")
        self._logic = _logic(game["pddl_domain"], game["grammar"])
        with _one_translation():
            self._pddl_state = pddl_logic.PddlState(self.downward_lib, game["pddl_problem"], self._logic)
        self._entity_infos = self._get_entity_infos()
        names = Demangler(game_infos=self._entity_infos)
        for info in self._entity_infos.values():
            info.name = names.demangle_alfred_name(info.id)
        self._loaded = _copied(self._pddl_state)

    def reset(self) -> GameState:
        """See `PddlEnv`."""
        self._pddl_state = _copied(self._loaded)
        self.downward_lib.load_sas(self._pddl_state.sas.encode("utf-8"))
        self.prev_state, self._last_action, self._moves = None, None, 0
        self.state = GameState()
        context = {
            "state": self._pddl_state,
            "facts": list(self._pddl_state.facts),
            "variables": {},
            "mapping": {},
            "entity_infos": self._entity_infos,
        }
        self.state.feedback = self.state.raw = self._logic.grammar.derive("#intro#", context)
        self._gather_infos()
        return self.state

    @property
    def names(self) -> dict[str, str]:
        """PDDL identifier to displayed name."""
        return {identifier: info.name.strip() for identifier, info in self._entity_infos.items()}


def _logic(domain: str, grammar: str) -> pddl_logic.GameLogic:
    """A game's actions and sentences; the task's own sentence is put in after parsing, where it is plain text."""
    task = _TASK.search(grammar)
    if task is None:
        return _parsed_logic(domain, grammar)
    logic = copy.copy(_parsed_logic(domain, grammar.replace(task[1], "UNKNOWN")))
    logic.grammar = QuickGrammar(logic.grammar)
    logic.grammar._rules["task"] = [ProductionRule("task", [TerminalSymbol(f"Your task is to: {task[1]}")])]
    return logic


@lru_cache(maxsize=16)
def _parsed_logic(domain: str, grammar: str) -> pddl_logic.GameLogic:
    logic = pddl_logic.GameLogic(domain, grammar)
    logic.grammar = QuickGrammar(logic.grammar)
    return logic


_idle: list[QuickEngine] = []


def borrow() -> QuickEngine:
    """An engine of one's own. Each maps a copy of the planner's library (34 MB) that cannot be unmapped."""
    return _idle.pop() if _idle else QuickEngine(EnvInfos(won=True, admissible_commands=True))


def give_back(engine: QuickEngine) -> None:
    """Lets somebody else borrow an engine."""
    _idle.append(engine)


class _OneTranslation:
    """The planner's package, which translates a problem once instead of twice, and in a process only once.

    The second translation of the stock engine is for planning only, and nothing plans here.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(fast_downward, name)

    @staticmethod
    @lru_cache(maxsize=256)
    def pddl2sas(domain: str, problem: str, verbose: bool = False, optimize: bool = False) -> Any:
        if optimize:
            return _OneTranslation.pddl2sas(domain, problem, verbose=verbose)
        return fast_downward.pddl2sas(domain, problem, verbose=verbose)


@contextmanager
def _one_translation() -> Iterator[None]:
    """Translates once while a game is loaded, and gives back `sys.argv`, which the translator overwrites."""
    argv, arguments = sys.argv, list(sys.argv)
    pddl_logic.fast_downward = _OneTranslation()
    try:
        yield
    finally:
        pddl_logic.fast_downward = fast_downward
        sys.argv = argv
        sys.argv[:] = arguments


def _copied(state: pddl_logic.PddlState) -> pddl_logic.PddlState:
    """A state of its own that shares the translation."""
    fresh = copy.copy(state)
    fresh._facts = defaultdict(set, {signature: set(facts) for signature, facts in state._facts.items()})
    fresh._vars_by_name = dict(state._vars_by_name)
    fresh._vars_by_type = defaultdict(set, {kind: set(found) for kind, found in state._vars_by_type.items()})
    fresh._var_counts = Counter(state._var_counts)
    return fresh
