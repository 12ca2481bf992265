"""Playing in live environments: memory changes nothing but the number of calls."""

from __future__ import annotations

import itertools

import pytest

from bench.errors import BenchError
from bench.rollout import MaskedEnvironment, RememberingEnvironment
from tests.tiny_recipe import Corridor


class Counted(Corridor):
    calls = 0

    def step(self, action):
        type(self).calls += 1
        return super().step(action)


class Fickle(Corridor):
    visits = 0

    def reset(self, instance):
        type(self).visits += 1
        goal, seen = super().reset(instance)
        return goal, f"{seen} ({self.visits})"


def episode(environment, instance, actions):
    answers = [environment.reset(instance)]
    for action in actions:
        answers.append(environment.step(action))
        if answers[-1][2]:
            break
    return answers


ACTIONS = list(itertools.product(("open left", "open right", "wait"), repeat=3))


def test_memory_answers_what_the_environment_would():
    memory = {}
    environments = [RememberingEnvironment(Corridor(), memory) for _ in range(2)]
    for i, actions in enumerate(ACTIONS * 2):
        for key in ("house/0", "house/1"):
            assert episode(environments[i % 2], key, actions) == episode(Corridor(), key, actions)


def test_what_was_asked_before_is_not_asked_again():
    Counted.calls = 0
    environment = RememberingEnvironment(Counted(), {})
    first = [episode(environment, "house/0", actions) for actions in ACTIONS]
    calls = Counted.calls
    assert [episode(environment, "house/0", actions) for actions in ACTIONS] == first
    assert Counted.calls == calls


def test_an_environment_that_changes_its_mind_is_found_out():
    environment = RememberingEnvironment(Fickle(), {})
    environment.reset("house/0")
    environment.reset("house/0")
    with pytest.raises(BenchError, match="not deterministic"):
        environment.step("wait")


def test_a_masked_environment_says_nothing_and_rewards_the_same():
    plain, masked = Corridor(), MaskedEnvironment(Corridor())
    open_loop = ["open left", "open right"]
    shown, hidden = episode(plain, "house/0", open_loop), episode(masked, "house/0", open_loop)
    assert {x[0] for x in hidden[1:]} == {"..."} and [x[1:] for x in hidden[1:]] == [x[1:] for x in shown[1:]]
