"""Many actions scored in one context at once: the same numbers as one at a time."""

from __future__ import annotations

import numpy as np
import pytest

from bench.agents.choices import ChoiceScorer, choice_log_probs
from bench.agents.language_model import KeyValueBatch, LanguageModel
from bench.agents.lm_policy import LMPolicy
from bench.conformance.specimens import Writer
from bench.policy import Context, log_prob
from tests.tiny_language_models import tiny_lm

CONTEXTS = [
    Context("go to the kitchen", (), "You see a table."),
    Context("find a lamp", (("You see 3 apples.", "open the red door"), ("", "look")), "A lamp and 3 apples."),
    Context("a", (("nothing", "go to the kitchen"),) * 5, "You see a lamp."),
]
CHOICES = [
    ["go to the kitchen", "a", "look around", "go"],
    ["open the red door", "focus on the lamp " * 20, ""],
    ["a"],
]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny_lm()


def one_at_a_time(policy) -> list[np.ndarray]:
    return [log_prob(policy, [c] * len(texts), texts) for c, texts in zip(CONTEXTS, CHOICES, strict=True)]


@pytest.mark.parametrize(("temperature", "epsilon"), [(1.0, 0.0), (0.4, 0.0), (0.7, 0.3), (1.0, 1.0)])
def test_together_is_one_at_a_time(lm, temperature, epsilon):
    policy = LMPolicy(
        "p", lm, temperature, epsilon, lambda goal, seen: ("look around", "open the red door", f"a {seen}")
    )
    found, expected = choice_log_probs(policy, CONTEXTS, CHOICES), one_at_a_time(policy)
    for mine, right in zip(found, expected, strict=True):
        assert mine == pytest.approx(right, abs=1e-4)
    assert found[1][1] == -np.inf  # longer than an action can be
    assert np.isfinite(found[0][2]) and (epsilon == 1) == (found[0][0] == -np.inf)


def test_the_transcript_is_read_once(lm, monkeypatch):
    read, original = [], KeyValueBatch.read
    monkeypatch.setattr(KeyValueBatch, "read", lambda self, chunks: (read.extend(chunks), original(self, chunks))[1])
    choice_log_probs(LMPolicy("p", lm), CONTEXTS, CHOICES)
    assert len(read) == len(CONTEXTS)


def test_choices_of_one_token(lm):
    policy, text = LMPolicy("p", lm), lm.transcript.decode([10])
    assert len(lm.transcript.action(text)) == 2
    found = choice_log_probs(policy, CONTEXTS[:2], [[text], [text]])
    assert np.concatenate(found) == pytest.approx(log_prob(policy, CONTEXTS[:2], [text, text]), abs=1e-4)


def test_any_policy_can_be_asked():
    found = choice_log_probs(Writer("coin", {"a": 0.25, "look around": 0.75}), CONTEXTS, CHOICES)
    assert np.exp(found[0]) == pytest.approx([0, 0.25, 0.75, 0]) and np.exp(found[2]) == pytest.approx([0.25])


def test_the_empty_action_is_never_taken(lm):
    assert choice_log_probs(LMPolicy("p", lm), CONTEXTS[:1], [[""]])[0].tolist() == [-np.inf]


def longer(context: Context, action: str, observation: str) -> Context:
    return Context(context.goal, (*context.history, (context.observation, action)), observation)


def test_what_was_read_is_not_read_again(lm, monkeypatch):
    read, original = [], KeyValueBatch.read
    monkeypatch.setattr(KeyValueBatch, "read", lambda self, chunks: (read.extend(chunks), original(self, chunks))[1])
    policy, right = LMPolicy("p", lm), LMPolicy("q", lm)
    scorer = ChoiceScorer(policy)
    drafts = [longer(c, "go", "A lamp.") for c in CONTEXTS]
    later = [longer(longer(CONTEXTS[k], "a", "You see a lamp."), "go", "nothing") for k in (2, 0, 2)]
    for contexts in (CONTEXTS, drafts, [longer(c, "go", "nothing") for c in drafts[:2]], later):
        found = scorer.log_probs(contexts, CHOICES[: len(contexts)])
        for values, context, texts in zip(found, contexts, CHOICES, strict=False):
            assert values == pytest.approx(log_prob(right, [context] * len(texts), texts), abs=1e-4)
    whole = sum(len(lm.transcript.encode(o)) for c in CONTEXTS for o, _ in c.history)
    assert len(read) == 3 + 3 + 2 + 3
    assert all(len(chunk) <= 2 * (12 + 2 + 25) for chunk in read[3:]) and sum(map(len, read[:3])) > whole


def test_contexts_that_continue_nothing_are_read_from_the_beginning(lm):
    scorer, policy = ChoiceScorer(LMPolicy("p", lm)), LMPolicy("q", lm)
    scorer.log_probs(CONTEXTS[:1], CHOICES[:1])
    mixed = [longer(CONTEXTS[0], "go", "A lamp."), CONTEXTS[1], CONTEXTS[0]]
    for values, context in zip(scorer.log_probs(mixed, [["go", "a"]] * 3), mixed, strict=True):
        assert values == pytest.approx(log_prob(policy, [context] * 2, ["go", "a"]), abs=1e-4)
