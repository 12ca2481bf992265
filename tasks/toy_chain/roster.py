"""Who plays: the loggers, the targets, and how each of them differs."""

from __future__ import annotations

from bench.errors import UnknownNameError
from bench.task import PolicyCard
from tasks.toy_chain.agents import TabularPolicy, Temper, log_table

TEMPERS = {
    "novice": Temper(0.7),
    "steady": Temper(2.0),
    "skilled": Temper(3.5),
    "zealot": Temper(9.0, bias=(1.0, 0, 0, 0, 0), noise=0.8, mix="b"),
    "same": Temper(2.0),
    "expert": Temper(7.0),
    "careful": Temper(3.0, bias=(0, 0.8, 0, 0, 0), noise=0.5, mix="c"),
    "hasty": Temper(2.5, bias=(1.5, -1.0, 0.3, 0.3, 0), mix="c"),
    "expert_25": Temper(7.0, epsilon=0.25),
    "expert_50": Temper(7.0, epsilon=0.5),
    "expert_75": Temper(7.0, epsilon=0.75),
    "random": Temper(7.0, epsilon=1.0),
    "quitter": Temper(2.0, bias=(0, 0, 0, 0, 2.5)),
    "color_blind": Temper(4.0, reads="nothing"),
    "stayer": Temper(3.0, mix="d", never=("leave",)),
    "opposite": Temper(5.0, mix="d", reads="reversed"),
}
LOGGERS = {"pooled": ("novice", "steady", "skilled"), "far": ("zealot",)}
_DESCRIPTIONS = {
    "same": "the logger 'steady' under another name: overlap is perfect with a third of the pooled log",
    "expert": "nearly always does what is sensible",
    "careful": "searches more than it needs to",
    "hasty": "walks on and tries doors without searching",
    "expert_25": "the expert, but on a quarter of its turns any action",
    "expert_50": "the expert, but on half of its turns any action",
    "expert_75": "the expert, but on three quarters of its turns any action",
    "random": "all five actions equally likely",
    "quitter": "often leaves early",
    "color_blind": "plays well but does not read the color of the door",
    "stayer": "never leaves, so logged episodes that left have weight zero",
    "opposite": "reads the color as the other one: far from every logger",
}


def _card(name: str, description: str) -> PolicyCard:
    epsilon = TEMPERS[name].epsilon
    checkpoint = "table:expert" if epsilon else f"table:{name}"
    return PolicyCard(name, description, checkpoint, epsilon=epsilon, epsilon_sweep=epsilon > 0)


TARGETS = tuple(_card(name, text) for name, text in _DESCRIPTIONS.items())


def policy_named(name: str) -> TabularPolicy:
    """A logger or target.

    Raises:
        UnknownNameError: there is none of this name.
    """
    if name not in TEMPERS:
        raise UnknownNameError("policy of toy_chain", name, TEMPERS)
    return TabularPolicy(name, log_table(TEMPERS[name]))
