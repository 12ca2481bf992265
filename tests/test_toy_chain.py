"""toy_chain is exact: everything it says about itself can be checked against something independent."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace

import numpy as np
import pytest

from bench import registry
from bench.data import Step, Trajectory
from bench.errors import BenchError, DataError, UnknownNameError
from bench.policy import Context, Policy, log_prob, sample
from tasks.toy_chain import exact, record, world

TASK = registry.task("toy_chain")
TARGETS = [card.name for card in TASK.targets()]
LOGGERS = [name for log in TASK.logs() for name in TASK.log(log).loggers]
FEW_HOUSES = ("tower", "inn", "school")


def episode_probabilities(policy: Policy) -> np.ndarray:
    every = exact.enumerate_episodes()
    return np.exp(every.world_logp + np.array([x.sum() for x in policy.log_prob_episodes(every.trajectories)]))


@pytest.mark.parametrize("name", TARGETS + LOGGERS)
def test_probabilities_of_all_episodes_sum_to_one_on_every_instance(name):
    total = np.bincount(exact.enumerate_episodes().instance, weights=episode_probabilities(TASK.policy(name)))
    np.testing.assert_allclose(total, 1, atol=1e-12)


@pytest.mark.parametrize("name", TARGETS + LOGGERS)
def test_enumeration_and_dynamic_programming_agree(name):
    policy = TASK.policy(name)
    assert exact.value(policy) == pytest.approx(exact.ExactQ(policy).start_value(), abs=1e-12)


@pytest.mark.parametrize("name", TARGETS + LOGGERS)
def test_exact_value_agrees_with_on_policy_episodes(name):
    truth = TASK.truth(name)
    measured = replace(truth, exact=None)
    assert truth.stderr == 0 and truth.episodes == 600
    assert abs(measured.mean - truth.mean) < 4 * measured.stderr


@pytest.mark.parametrize("log", TASK.logs())
def test_mean_logged_return_agrees_with_the_exact_values_of_the_loggers(log):
    data = TASK.log(log)
    returns = data.columns.returns(1.0)
    expected = np.mean([TASK.truth(name).mean for name in data.loggers])
    assert abs(returns.mean() - expected) < 4 * returns.std() / np.sqrt(len(data))


@pytest.mark.parametrize("logger", ["steady", "zealot"])
@pytest.mark.parametrize("target", TARGETS)
def test_expected_importance_sampling_terms_equal_the_value(target, logger):
    moments = exact.weighted_moments(TASK.policy(target), TASK.policy(logger), FEW_HOUSES)
    value = exact.value_by_instance(TASK.policy(target), FEW_HOUSES)
    for term in ("is", "pdis"):
        np.testing.assert_allclose(moments[term].mean, value, atol=1e-12)
    for t in range(1, world.HORIZON + 1):  # episodes that ended keep their weight: nothing leaks at termination
        np.testing.assert_allclose(moments[f"weight_{t}"].mean, 1, atol=1e-12)


def test_variance_of_terms_predicts_the_spread_of_repeated_estimates():
    target, logger = TASK.policy("careful"), TASK.policy("skilled")
    moments = exact.weighted_moments(target, logger, FEW_HOUSES)["is"]
    data, probability = exact.enumerated_log(logger, FEW_HOUSES)
    ratio = [a - b for a, b in zip(*(p.log_prob_episodes(data.trajectories) for p in (target, logger)), strict=True)]
    terms = np.exp([x.sum() for x in ratio]) * data.columns.returns(1.0)
    draws = np.random.default_rng(0).choice(terms, p=probability / probability.sum(), size=(4000, 50)).mean(axis=1)
    total = moments.variance.mean() + moments.mean.var()  # instances drawn at random: within plus between
    assert draws.var() == pytest.approx(total / 50, rel=0.15)


def test_a_policy_judged_by_its_own_episodes_has_weight_one():
    moments = exact.weighted_moments(TASK.policy("same"), TASK.policy("steady"), FEW_HOUSES)
    assert all(moments[f"weight_{t}"].variance.max() < 1e-24 for t in range(1, world.HORIZON + 1))


def test_enumerated_log_is_a_data_set_with_a_distribution():
    data, probability = exact.enumerated_log(TASK.policy("stayer"), ("mill", "farm"))
    assert probability.sum() == pytest.approx(1, abs=1e-12)
    assert data.has_propensities and not any(s.action == "leave" for t in data.trajectories for s in t.steps)
    assert probability @ data.columns.returns(1.0) == pytest.approx(
        exact.value(TASK.policy("stayer"), ("mill", "farm"))
    )


def test_exact_action_values_satisfy_the_bellman_equation_along_logged_episodes():
    policy = TASK.policy("careful")
    q = exact.ExactQ(policy)
    for trajectory in TASK.log("pooled").trajectories[:60]:
        history: tuple = ()
        for t, step in enumerate(trajectory.steps):
            values = q.action_values(trajectory.goal, history, step.observation)
            contexts = [Context(trajectory.goal, history, step.observation)] * len(world.ACTIONS)
            probability = np.exp(log_prob(policy, contexts, world.ACTIONS))
            assert q.value(trajectory.goal, history, step.observation) == pytest.approx(probability @ values, abs=1e-12)
            expected = 0.0
            past = (*history, (step.observation, step.action))
            for o in world.kernel(trajectory.goal, history, step.observation, step.action):
                goes_on = not o.terminated and t + 1 < world.HORIZON
                expected += o.probability * (
                    o.reward + (q.value(trajectory.goal, past, o.observation) if goes_on else 0)
                )
            assert values[world.ACTIONS.index(step.action)] == pytest.approx(expected, abs=1e-12)
            history = past


def test_values_along_an_episode_are_those_of_its_own_steps():
    q = exact.ExactQ(TASK.policy("expert"))
    trajectory = max(TASK.log("pooled").trajectories, key=len)
    action_values, state_values = q.episode(trajectory)
    assert action_values.shape == state_values.shape == (len(trajectory),)
    assert state_values[0] == q.value(trajectory.goal, (), trajectory.steps[0].observation)


def test_the_kernel_describes_what_the_environment_does():
    instance = world.instance_named("farm")
    actions = ("search the room", "search the room", "go on")
    seen: dict[tuple, int] = {}
    for k in range(4000):
        live = world.ToyChainEnvironment(np.random.default_rng(k))
        goal, observation = live.reset("farm")
        history: tuple = ()
        for action in actions:
            after = live.step(action)
            seen[(history, observation, action, after)] = seen.get((history, observation, action, after), 0) + 1
            history, observation = (*history, (observation, action)), after[0]
    for (history, observation, action, after), count in seen.items():
        visits = sum(n for key, n in seen.items() if key[:3] == (history, observation, action))
        (p,) = [
            o.probability
            for o in world.kernel(instance.goal, history, observation, action)
            if (o.observation, o.reward, o.terminated) == after
        ]
        assert abs(count / visits - p) <= 4 * np.sqrt(p * (1 - p) / visits)


def test_the_observation_alone_does_not_determine_what_follows():
    goal = world.instance_named("farm").goal
    plain = "You are in the barn. Before you are a red door and a blue door."
    start = world.first_observation(world.instance_named("farm"))
    found = world.kernel(goal, (), start, "search the room")[0].observation
    without = world.kernel(goal, ((start, "go on"),), plain, "open the blue door")
    holding = world.kernel(goal, ((start, "search the room"), (found, "go on")), plain, "open the blue door")
    assert without[0].reward == 0 and holding[0].reward == world.DOOR_REWARD


def test_the_environment_takes_any_text_and_ends_when_it_says_so():
    live = world.ToyChainEnvironment(np.random.default_rng(0))
    live.reset("mill")
    observation, reward, terminated = live.step("please, could you sing?")
    assert observation.startswith("That does not work") and reward == 0 and not terminated
    assert live.step("leave")[2]
    with pytest.raises(DataError, match="reset"):
        live.step("go on")


@pytest.mark.parametrize(
    ("goal", "history", "observation", "message"),
    [
        ("Make tea.", (), "You are in the porch.", "no instance with the goal"),
        (world.INSTANCES[0].goal, (), "You are in the moon.", "cannot begin"),
        (world.INSTANCES[0].goal, ((world.first_observation(world.INSTANCES[0]), "go on"),), "Tea!", "cannot follow"),
    ],
)
def test_an_impossible_history_is_refused(goal, history, observation, message):
    with pytest.raises(DataError, match=message):
        world.kernel(goal, history, observation, "go on")


def test_logs_are_ragged_end_early_and_are_cut_by_the_horizon():
    for name in TASK.logs():
        data = TASK.log(name)
        assert len(data) == 3000 and data.has_propensities
        assert len(np.unique(data.columns.lengths)) >= 4
        assert 0.02 < data.columns.truncated.mean() < 0.5
        assert {t.terminated for t in data.trajectories if t.truncated} == {False}
    assert set(TASK.log("pooled").columns.lengths) == set(range(1, world.HORIZON + 1))


def test_a_log_is_drawn_in_under_two_seconds_and_is_always_the_same():
    first = record.logged("pooled").fingerprint
    record.logged.cache_clear()
    start = time.process_time()
    again = record.logged("pooled")
    assert time.process_time() - start < 2
    assert again.fingerprint == first and record.logged("pooled") is again


def test_targets_are_spread_over_the_scale():
    values = [TASK.truth(name).mean for name in TARGETS]
    assert len(values) >= 12 and min(values) < 0.05 and max(values) > 0.55
    assert TASK.truth("same").mean == TASK.truth("steady").mean


def test_the_epsilon_sweep_mixes_the_expert_with_chance():
    sweep = [card for card in TASK.targets() if card.epsilon_sweep]
    assert [card.epsilon for card in sweep] == [0.25, 0.5, 0.75, 1.0]
    expert = np.exp(TASK.policy("expert").table)
    for card in sweep:
        mixed = (1 - card.epsilon) * expert + card.epsilon / len(world.ACTIONS)
        np.testing.assert_allclose(np.exp(TASK.policy(card.name).table), mixed, atol=1e-12)
    values = [TASK.truth(name).mean for name in ("expert", *(card.name for card in sweep))]
    assert values == sorted(values, reverse=True)


def test_next_actions_occur_as_often_as_log_prob_says():
    trajectory = TASK.log("pooled").trajectories[0]
    for name in ("careful", "stayer"):
        policy = TASK.policy(name)
        (drawn,) = policy.next_actions([trajectory], 20_000, seed=3)
        for t, step in enumerate(trajectory.steps):
            history = tuple((s.observation, s.action) for s in trajectory.steps[:t])
            contexts = [Context(trajectory.goal, history, step.observation)] * len(world.ACTIONS)
            probability = np.exp(log_prob(policy, contexts, world.ACTIONS))
            assert probability.sum() == pytest.approx(1, abs=1e-12)
            frequency = np.array([drawn[t].count(a) for a in world.ACTIONS]) / 20_000
            assert np.all(np.abs(frequency - probability) <= 4.5 * np.sqrt(probability * (1 - probability) / 20_000))


def test_sessions_act_as_often_as_log_prob_says():
    policy, first = TASK.policy("steady"), world.first_observation(world.INSTANCES[1])
    session = policy.start([world.INSTANCES[1].goal] * 20_000, range(20_000))
    drawn = [d.action for d in session.step([first] * 20_000)]
    probability = np.exp(log_prob(policy, [Context(world.INSTANCES[1].goal, (), first)] * 5, world.ACTIONS))
    frequency = np.array([drawn.count(a) for a in world.ACTIONS]) / 20_000
    assert np.all(np.abs(frequency - probability) <= 4.5 * np.sqrt(probability * (1 - probability) / 20_000))


@pytest.mark.parametrize("log", TASK.logs())
def test_recorded_log_probabilities_are_exactly_what_scoring_gives(log):
    data = TASK.log(log)
    for k, name in enumerate(data.loggers):
        again = TASK.policy(name).log_prob_episodes(data.trajectories)
        for trajectory, values in zip(data.trajectories, again, strict=True):
            assert [s.logger_logps[k] for s in trajectory.steps] == values.tolist()
            if trajectory.logger == name:
                assert [s.behavior_logp for s in trajectory.steps] == values.tolist()


def test_an_action_outside_the_support_has_probability_zero():
    policy = TASK.policy("stayer")
    context = Context(world.INSTANCES[0].goal, (), world.first_observation(world.INSTANCES[0]))
    assert log_prob(policy, [context, context], ["leave", "sing"]).tolist() == [-np.inf, -np.inf]
    assert "leave" not in {sample(policy, [context], seed)[0] for seed in range(200)}


def test_the_rest_of_the_batch_does_not_change_an_episode():
    policy = TASK.policy("hasty")
    episodes = TASK.log("pooled").trajectories[:12]
    goals, seeds = [t.goal for t in episodes], list(range(12))
    together, alone = policy.start(goals, seeds), [policy.start([g], [s]) for g, s in zip(goals, seeds, strict=True)]
    for turn in range(world.HORIZON):
        shown = [t.steps[turn].observation if turn < len(t) else None for t in episodes]
        assert together.step(shown) == [session.step([o])[0] for session, o in zip(alone, shown, strict=True)]
    drawn = policy.next_actions(episodes, 4, seed=1)
    assert drawn[3:5] == policy.next_actions(episodes[3:5], 4, seed=1)


def test_a_seed_changes_what_an_agent_does():
    policy, goal = TASK.policy("novice"), world.INSTANCES[0].goal
    first = world.first_observation(world.INSTANCES[0])
    assert len({d.action for d in policy.start([goal] * 50, range(50)).step([first] * 50)}) > 1
    assert policy.next_actions(TASK.log("far").trajectories[:5], 8, 0) != policy.next_actions(
        TASK.log("far").trajectories[:5], 8, 1
    )


def test_an_agent_takes_any_observation():
    policy = TASK.policy("expert")
    strange = Trajectory("x", "", "Do what you like.", (Step("Snow falls.", "go on", 0.0), Step("", "leave", 0.0)))
    assert np.isfinite(policy.log_prob_episodes([strange])[0]).all()
    assert policy.start(["Do what you like."], [0]).step(["Snow falls."])[0].action in world.ACTIONS
    assert policy.log_prob_episodes([]) == [] and policy.next_actions([], 2, 0) == []


def test_a_session_refuses_what_it_cannot_do():
    session = TASK.policy("expert").start(["a", "b"], [0, 1])
    session.step(["x", None])
    with pytest.raises(BenchError, match="was over"):
        session.step(["x", "y"])
    with pytest.raises(BenchError, match="2 episodes"):
        session.step(["x"])
    with pytest.raises(BenchError, match="one seed per goal"):
        TASK.policy("expert").start(["a"], [])


def test_an_agent_that_ignores_the_goal_acts_the_same_whatever_it_says():
    trajectory = TASK.log("pooled").trajectories[0]
    other = replace(trajectory, goal=trajectory.goal.replace("red", "?").replace("blue", "red").replace("?", "blue"))
    assert other.goal != trajectory.goal
    assert not np.allclose(*TASK.policy("steady").log_prob_episodes([trajectory, other]))
    assert np.array_equal(*TASK.policy("color_blind").log_prob_episodes([trajectory, other]))


@pytest.mark.parametrize("ask", [TASK.log, TASK.policy, TASK.truth])
def test_an_unknown_name_is_answered_with_the_known_ones(ask):
    with pytest.raises(UnknownNameError, match="Known: "):
        ask("nonesuch")


@pytest.mark.parametrize(("log", "content"), [("pooled", "94711d1819d72d9a"), ("far", "62476d303d41aeb3")])
def test_what_is_logged_belongs_to_the_version_it_is_labelled_with(log, content):
    """The hashes were taken from version 1 when it was new. Does one differ? Then bump the version and take it anew."""
    episodes = [
        [t.id, t.goal, t.final_observation, t.terminated, [[s.observation, s.action, s.reward] for s in t.steps]]
        for t in TASK.log(log).trajectories
    ]
    found = hashlib.sha256(json.dumps(episodes).encode()).hexdigest()[:16]
    assert (record.ENVIRONMENT, found) == ("toy_chain 1", content)
