"""The text world model: what it learns from, that it learns, and that what it writes is drawn from what it learned."""

from __future__ import annotations

import functools
import logging
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench import registry
from bench.agents.transcript import ACT, OBS, SPECIAL
from bench.conformance.specimens import GiveUp, Log, Walk, Writer
from bench.data import LoggedDataset
from bench.errors import BenchError
from bench.rng import rng_for
from estimators._autoregressive.guesses import Guesses
from estimators._autoregressive.ragged_cache import RaggedCache
from estimators._autoregressive.segments import Language
from estimators._autoregressive.text_world import TextWorld
from estimators._autoregressive.writing import Line
from estimators._world import fits
from estimators._world.rewards import two_hot
from estimators._world.rollout import simulate
from estimators._world.world import Answer, starts_of

TASK = registry.task("toy_chain")
SPEC = dict(hidden=32, layers=2, updates=500, batch_tokens=512, max_observation_tokens=32, window=512)
QUICK = SPEC | dict(layers=1, updates=12, rollouts=5)
HALF = Writer("half", {"carry on": 0.5, "give up": 0.5})


def estimator(**changes):
    return registry.estimator_class("autoregressive_wm")(**{**SPEC, **changes})


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory):
    """Fits of these tests go to a folder of their own, and no stored one is found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fits, "CACHE", tmp_path_factory.mktemp("fits"))
        patch.setattr(fits, "COMMITTED", tmp_path_factory.mktemp("committed"))
        patch.delenv(fits.REFIT, raising=False)
        yield patch


@functools.cache
def log(n: int = 500) -> LoggedDataset:
    return TASK.log("pooled").subset(n, 0)


@functools.cache
def trained():
    return estimator(rollouts=200).fit(log(), rng_for("fit"))


def world(guess: bool = True) -> TextWorld:
    return TextWorld(trained().fit_, log(), guess)


def played(policy: str, n: int = 40, guess: bool = True, data: LoggedDataset | None = None):
    rng = rng_for("play", policy)
    starts = starts_of(log(), n, rng)
    return simulate(world(guess), TASK.policy(policy), starts, log().horizon, 1.0, rng)


# What it learns from


def language(data: LoggedDataset, **changes) -> Language:
    return Language.of(data, **(dict(vocabulary=400, cap=32, window=512, knows_instance=False) | changes))


def test_a_segment_holds_the_world_s_part_and_marks_it():
    data = Log(GiveUp(), HALF).exact(32)
    words, episode = language(data), next(t for t in data.trajectories if len(t) == 2)
    [segment] = words.segments(episode)
    learned = words.transcript.tokenizer.decode(segment.ids[segment.learned].tolist(), skip_special_tokens=False)
    assert learned.replace("<act>", "|") == "You have carried on 1 times.|You gave up.|"
    assert segment.ids[segment.place].tolist() == [ACT, ACT]
    assert segment.reward.tolist() == [0.1, 0.0] and segment.ended.tolist() == [0, 1]


def test_the_unknown_end_of_a_cut_episode_is_not_learned_but_its_reward_is():
    data = Log(GiveUp(), HALF).exact(32)
    episode = next(t for t in data.trajectories if len(t) == 3)
    cut = replace(episode, final_observation=None, terminated=False, truncated=True)
    words = language(data)
    [whole], [part] = words.segments(episode), words.segments(cut)
    assert len(part.place) == len(whole.place) == 3 and part.ended[-1] == 0
    assert part.learned.sum() == whole.learned.sum() - len(words.answer(episode.final_observation))
    ended = replace(cut, terminated=True, truncated=False)
    assert words.segments(ended)[0].learned[-1], "what ended without a last observation ended on the empty text"


def test_long_episodes_fall_into_segments_that_fit_and_lose_no_answer():
    data = log()
    words = language(data, window=160, knows_instance=True)
    for t in data.trajectories[:20]:
        parts = words.segments(t)
        assert max(len(s.ids) for s in parts) <= 160
        assert sum(len(s.place) for s in parts) == len(t)
        np.testing.assert_array_equal(np.concatenate([s.reward for s in parts]), t.rewards)
    assert max(len(words.segments(t)) for t in data.trajectories) > 1


def test_an_observation_that_was_cut_has_no_end_to_learn():
    data = log()
    [segment] = language(data, cap=3).segments(data.trajectories[0])
    assert not segment.learned[segment.place].any() and segment.learned.any()


def test_rewards_are_split_between_neighbors_in_the_support():
    support = torch.tensor([-1.0, 0.0, 0.5])
    weights = two_hot(torch.tensor([-1.0, 0.125, 0.5, 0.0]), support)
    expected = [[1, 0, 0], [0, 0.75, 0.25], [0, 0, 1], [0, 1, 0]]
    assert weights.tolist() == expected


# That it learns


def test_training_lowers_the_held_out_loss(caplog):
    with caplog.at_level(logging.INFO, "estimators._autoregressive.training"):
        facts = estimator(**QUICK | dict(updates=120)).fit(log(), rng_for(0)).fit_.facts
    nats = [r.args[-1]["nats"] for r in caplog.records]
    assert len(nats) == 12 and nats[-1] < 0.25 * nats[0]
    assert facts["nats"] == pytest.approx(min(nats), abs=1e-3)


def test_the_value_comes_close_to_the_truth():
    for policy, allowed in (("careful", 0.1), ("random", 0.05), ("quitter", 0.07)):
        value = trained().estimate(TASK.policy(policy), rng_for(policy)).value
        assert value == pytest.approx(TASK.truth(policy).mean, abs=allowed), policy


def test_it_knows_more_than_the_shares_of_the_answers_and_says_so():
    facts = trained().fit_.facts
    cut = facts["best_update"] == trained().updates  # the last look was the best: it would have gone on
    assert facts["gain"] > 0.5 and trained().label().startswith("training ended at its limit" if cut else "")
    assert bool(trained().label()) == cut
    estimate = estimator(**QUICK).fit(log(), rng_for(0)).estimate(TASK.policy("expert"), rng_for(0))
    assert estimate.diagnostics["fit_gain"] < 0 and estimate.note.startswith("undertrained: ")


CHANGES = (
    dict(updates=4),
    dict(batch_tokens=2000),
    dict(hidden=64),
    dict(layers=2),
    dict(max_observation_tokens=4),
    dict(window=390),
    dict(knows_instance=False),
    dict(fit_seed=1),
)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_parameter_changes_the_weights(change):
    data = Log(Walk(turns=40), Writer("even", {"yes": 0.5, "no": 0.5})).drawn(6)

    def weights(**given):
        fit = estimator(**QUICK | dict(updates=3) | given).fit(data, rng_for(0)).fit_
        return torch.cat([p.flatten() for p in fit.model.parameters()])

    plain, changed = weights(), weights(**change)
    assert plain.shape != changed.shape or not torch.equal(plain, changed)


@pytest.mark.parametrize(
    "change", [dict(rollouts=0), dict(hidden=48), dict(layers=0), dict(updates=0), dict(window=100)]
)
def test_impossible_parameters_are_refused(change):
    with pytest.raises(BenchError, match="autoregressive_wm: "):
        estimator(**change).fit(log(), rng_for(0))


def test_a_stored_fit_gives_the_number_of_a_fresh_one(store, tmp_path):
    def value():
        return estimator(**QUICK).fit(log(), rng_for(0)).estimate(TASK.policy("expert"), rng_for(0)).value

    store.setattr(fits, "CACHE", tmp_path)
    fresh = value()
    [path] = tmp_path.iterdir()
    before = path.stat().st_mtime_ns
    assert value() == fresh and path.stat().st_mtime_ns == before, "not taken from the store"
    store.setenv(fits.REFIT, str(time.time()))
    assert value() == fresh and path.stat().st_mtime_ns > before, "not trained anew"
    store.delenv(fits.REFIT)


# That what it writes is drawn from what it learned


def test_the_chances_of_the_next_token_sum_to_one_and_no_marker_but_the_end_has_any():
    fit = trained().fit_
    [segment] = fit.language.segments(log().trajectories[0])
    with torch.no_grad():
        chance = fit.model.token_logits(fit.model.read(torch.tensor(segment.ids)[None])[0]).softmax(dim=-1)
    assert torch.allclose(chance.sum(dim=-1), torch.ones(len(segment.ids)), atol=1e-5)
    others = [k for k in range(len(SPECIAL)) if k != ACT]
    assert (chance[:, others] == 0).all() and (chance[:, ACT] > 0).all()


def test_guesses_from_the_log_change_no_observation():
    with_guesses, without = played("careful"), played("careful", guess=False)
    texts = [[[(seen, done) for seen, done, _ in episode] for episode in x.episodes] for x in (with_guesses, without)]
    assert texts[0] == texts[1]
    np.testing.assert_allclose(with_guesses.returns, without.returns, atol=1e-4)


def test_guesses_are_logged_answers():
    data, words = log(), trained().fit_.language
    guesses, t = Guesses(data, words), next(t for t in data.trajectories if len(t) > 2)
    answers = {words.answer(x.observation) for e in data.trajectories for x in e.steps}
    answers |= {words.answer(e.final_observation) for e in data.trajectories}
    first = guesses.first(t.goal, t.steps[0].observation, t.steps[0].action)
    assert first in answers and (*first[:2], *guesses.rest(first[:2])) in answers
    assert guesses.first(t.goal, "nowhere", "never done") == () and guesses.rest([ACT, ACT]) == ()


def readings(answer: list[int], draft: list[int]) -> int:
    """How often a model that can only say `answer` must be asked until it is written."""
    line, asked = Line(0, [OBS], tuple(draft), np.zeros(200)), 0
    while line.unread:
        told = answer[len(line.written) : len(line.written) + line.asked()]
        line.take([*told, *[0] * (line.asked() - len(told))], lambda begun: ())
        asked += 1
    assert line.written == answer
    return asked


def test_a_draft_helps_on_where_it_was_wrong_in_a_name_or_a_number():
    numbers = np.random.default_rng(0).integers(500, 600, size=(3, 12))
    one, other, shorter = (
        [x for i, k in enumerate(n) for x in (40, k, *range(50 + 7 * i, 57 + 7 * i))] for n in numbers
    )
    shorter = [x for x in shorter if x not in (numbers[2][3], numbers[2][7])]  # the thread is to be found again
    one, other, shorter = ([*x, ACT] for x in (one, other, shorter))
    assert readings(one, one) == 1 and readings(one, []) == len(one) + 1
    assert readings(one, other) < len(one) / 3 and readings(shorter, other) < len(one) / 3
    assert readings(other, shorter) < len(one) / 2


def test_reading_in_parts_is_reading_at_once_even_after_cutting_back():
    model = trained().fit_.model
    ids = torch.randint(5, 60, (3, 12), generator=torch.Generator().manual_seed(0))
    cache = RaggedCache(model, 3)
    with torch.no_grad():
        whole = model.read(ids)
        cache.read(torch.arange(3), ids[:, :7])
        cache.length += torch.tensor([4, 7, 2])  # rows 0 and 2 forget what they read beyond
        cache.keep(torch.tensor([0, 2]))
        later = cache.read(torch.tensor([1]), ids[2:, 2:])
        cache.length += torch.tensor([0, 10])
        first = cache.read(torch.tensor([0]), ids[:1, 4:])
    torch.testing.assert_close(later[0], whole[2, 2:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(first[0], whole[0, 4:], atol=1e-4, rtol=1e-4)


def test_answers_are_mostly_logged_ones():
    facts = played("expert").diagnostics
    assert facts["novel_observation_share"] < 0.15 and facts["cut_observation_share"] == 0
    assert facts["unreadable_observation_share"] < 0.05


def test_finished_rows_stay_none():
    w, rng = world(), rng_for(0)
    w.reset(starts_of(log(), 4, rng), rng)
    first = w.step(["search the room", None, "go on", "search the room"])
    assert first[1] is None and all(isinstance(first[k], Answer) for k in (0, 2, 3))
    second = w.step(["go on", None, None, "go on"])
    assert [a is None for a in second] == [False, True, True, False]
    assert w.step([None] * 4) == [None] * 4


def test_an_answer_without_end_is_cut_at_the_cap_and_counted():
    w, rng = world(), rng_for(0)
    w.language = language(log(), cap=3)
    w.language.transcript = trained().fit_.language.transcript
    w.reset(starts_of(log(), 6, rng), rng)
    answers = w.step(["search the room"] * 6)
    assert w.diagnostics()["cut_observation_share"] == 1
    assert all(len(w.language.transcript.encode(a.observation)) <= 3 for a in answers)


def test_an_episode_longer_than_the_window_goes_on_from_its_last_turns():
    w, rng = world(), rng_for(0)
    w.language = replace_window(w.language, 130)
    w.reset(starts_of(log(), 3, rng), rng)
    for _ in range(12):
        assert all(isinstance(a, Answer) for a in w.step(["search the room"] * 3))
        assert int(w.cache.length.max()) <= 130
    assert len(w.live[0].turns) == 13


def replace_window(words: Language, window: int) -> Language:
    return Language(words.transcript, window, words.knows_instance)


def test_the_same_seed_gives_the_same_number():
    few = replace(trained(), rollouts=30)
    few.data_, few.fit_ = log(), trained().fit_
    values = [few.estimate(TASK.policy("expert"), rng_for(seed)).value for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]
