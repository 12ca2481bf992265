"""White-box agents: soft tokens stand where words would, gradients are right, looking ahead leaves no trace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench import registry
from bench.agents.cloning import CloningConfig, Demonstration, clone
from bench.agents.language_model import LanguageModel, sampling_log_probs
from bench.agents.lm_policy import LMPolicy
from bench.agents.transcript import Transcript, train_tokenizer
from bench.agents.white_box import WhiteBox
from bench.data import LoggedDataset, Step, Trajectory
from bench.policy import SoftObservation, opened
from estimators._world import fits
from estimators._world.adapter import AdapterTraining, keep_best, train_adapter
from estimators._world.adapters import AdapterConfig
from estimators._world.training import Training, train_world
from tests.tiny_language_models import TEXTS, tiny_lm

GOALS = ["go to the kitchen", "find a lamp"]


def explore(goal, observations):
    return ("look around", "open the red door")


@pytest.fixture(scope="module")
def lm():
    return tiny_lm()


def words(lm, text):
    """(L, d) embeddings of a text: soft tokens that say exactly what it says."""
    return lm.model.get_input_embeddings()(torch.tensor(lm.transcript.encode(text)[:12])).detach()


def episodes(lm, n=3, seed=0):
    policy, rng = LMPolicy("p", lm), np.random.default_rng(seed)
    session, shown = policy.start([GOALS[i % 2] for i in range(n)], rng.integers(99, size=n)), [TEXTS[2]] * n
    steps = [[] for _ in range(n)]
    for t in range(3):
        for i, d in enumerate(session.step(shown)):
            steps[i].append(Step(shown[i], d.action, 0.0, d.tokens, d.log_prob))
        shown = [TEXTS[(t + i) % 4] for i in range(n)]
    return [Trajectory(str(i), "x", GOALS[i % 2], tuple(s)) for i, s in enumerate(steps)]


def test_states_after_words_give_the_recorded_log_probs(lm):
    logged, inside = episodes(lm), WhiteBox(lm)
    tokens = [s.action_tokens for e in logged for s in e.steps]
    first = torch.tensor([k == 0 for a in tokens for k in range(len(a))])
    logp = sampling_log_probs(inside.logits(inside.action_states(logged)), 1.0, first)
    chosen = logp.gather(-1, torch.tensor([x for a in tokens for x in a])[:, None])[:, 0]
    owner = np.repeat(np.arange(len(tokens)), [len(a) for a in tokens])
    recorded = [s.behavior_logp for e in logged for s in e.steps]
    assert np.bincount(owner, weights=chosen.numpy()) == pytest.approx(recorded, abs=1e-4)
    assert [inside.tokens(s) for e in logged for s in e.steps] == [len(a) for a in tokens]


def test_soft_tokens_that_are_the_words_change_nothing(lm):
    soft = [
        replace(e, steps=tuple(Step(TEXTS[2], s.action, 0.0, s.action_tokens) for s in e.steps)) for e in episodes(lm)
    ]
    inside = WhiteBox(lm)
    vectors = [words(lm, TEXTS[2]).expand(len(e), -1, -1) for e in soft]
    assert torch.allclose(inside.action_states(soft), inside.action_states(soft, vectors), atol=1e-5)
    policy = LMPolicy("p", lm)
    by_text, by_soft = policy.start(GOALS, [1, 2]), policy.start(GOALS, [1, 2])
    for _ in range(3):
        a = by_text.step([TEXTS[2]] * 2)
        b = by_soft.step([SoftObservation(TEXTS[2], words(lm, TEXTS[2]))] * 2)
        assert [x.tokens for x in a] == [x.tokens for x in b]
        assert [x.log_prob for x in a] == pytest.approx([x.log_prob for x in b], abs=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_looking_ahead_gives_the_gradient_and_leaves_no_trace(lm, epsilon):
    policy = LMPolicy("p", lm, temperature=0.8, epsilon=epsilon, explore=explore)
    looked, plain = policy.start(GOALS, [1, 2]), policy.start(GOALS, [1, 2])
    for session in (looked, plain):
        session.step([TEXTS[2], TEXTS[2] + " Look."])  # rows of different length
    generator = torch.Generator().manual_seed(0)
    vectors = (0.3 * torch.randn(2, 4, 32, generator=generator)).requires_grad_()
    with looked.lookahead() as ahead:
        actions = ahead.propose(vectors)
        (gradient,) = torch.autograd.grad(ahead.log_prob(vectors, actions).sum(), vectors)
        way = 1e-3 * torch.randn(vectors.shape, generator=generator)
        with torch.no_grad():
            slope = ahead.log_prob(vectors + way, actions) - ahead.log_prob(vectors - way, actions)
        assert (2 * (gradient * way).sum(dim=(1, 2))).tolist() == pytest.approx(slope.tolist(), rel=0.05, abs=2e-5)
        value = ahead.log_prob(vectors, actions).detach()
    shown = [SoftObservation("?", v.detach()) for v in vectors]
    after, undisturbed = looked.step(shown), plain.step(shown)
    assert [d.tokens for d in after] == [d.tokens for d in undisturbed]
    assert [d.log_prob for d in after] == pytest.approx([d.log_prob for d in undisturbed], abs=1e-5)
    for d, tokens, logp in zip(after, actions, value.tolist(), strict=True):
        if d.tokens == tokens:
            assert d.log_prob == pytest.approx(logp, abs=1e-4)


def test_a_purely_exploring_agent_gives_no_gradient(lm):
    session = LMPolicy("p", lm, epsilon=1.0, explore=explore).start(GOALS, [1, 2])
    session.step([TEXTS[2]] * 2)
    vectors = torch.zeros(2, 4, 32, requires_grad=True)
    with session.lookahead() as ahead:
        value = ahead.log_prob(vectors, ahead.propose(vectors)).sum()
    assert float(torch.autograd.grad(value, vectors)[0].abs().max()) == 0


def test_a_fresh_action_has_no_gradient_on_average(lm):
    """Why guidance holds its action fixed: sum_a pi(a) grad log pi(a) = grad 1 = 0, here over the first token."""
    inside, logged = WhiteBox(lm), episodes(lm, 1)
    soft = torch.zeros(3, 4, 32, requires_grad=True)
    logp = inside.logits(inside.action_states(logged, [soft])).log_softmax(dim=-1)[-1]
    fresh = torch.autograd.grad((logp.exp().detach() * logp).sum(), soft, retain_graph=True)[0]
    fixed = torch.autograd.grad(logp.max(), soft)[0]
    assert float(fresh.abs().max()) < 1e-5 < float(fixed.abs().max())


def test_opened_sees_through_wrappers_and_takes_nothing_for_granted(lm):
    policy = LMPolicy("p", lm)
    assert opened(policy) is policy
    assert opened(registry.task("toy_chain").policy("same")) is None


COLORS = ("red", "blue", "green", "black", "white", "pink")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A trained agent that opens the box whose color it reads, and such episodes."""
    rng = np.random.default_rng(0)
    logged = []
    for i in range(120):
        seen = rng.choice(COLORS, size=3)
        steps = tuple(Step(f"There is a {c} box.", f"open the {c} box", 0.0) for c in seen)
        logged.append(Trajectory(str(i), "x", "open boxes", steps, "Done."))
    texts = [text for t in logged for step in t.steps for text in (t.goal, step.observation, step.action)]
    transcript = Transcript(train_tokenizer(texts, 320), max_observation_tokens=12)
    size = dict(hidden=32, layers=2, heads=2, feed_forward=64)
    schedule = dict(epochs=30, batch_tokens=512, learning_rate=1e-2, checkpoints=(1.0,))
    config = CloningConfig(**size, **schedule, initializer_range=32**-0.5)
    out = tmp_path_factory.mktemp("reader")
    clone([Demonstration(t, (True,) * 3) for t in logged], transcript, config, 0, out, "reader")
    return LanguageModel.load(out / "reader-100", transcript), logged


def test_a_distilled_adapter_tells_a_reading_agent_what_it_would_have_read(reader, monkeypatch):
    lm, logged = reader
    assert np.exp(np.concatenate(LMPolicy("p", lm).log_prob_episodes(logged))).min() > 0.9  # it reads
    data = LoggedDataset("t", ("unknown",), 1.0, 3, tuple(logged))
    fit = train_world(data, "tiny", Training(updates=2, encoder_updates=30), True, True, np.random.default_rng(0))
    settings = AdapterTraining(updates=200, held_out=0.3)
    trained = train_adapter(fit, data, WhiteBox(lm), settings, np.random.default_rng(0))
    assert trained.facts["agreement"] > 0.8  # whoever cannot read is right once in six
    again = train_adapter(fit, data, WhiteBox(lm), settings, np.random.default_rng(0))
    assert torch.equal(again.model.rest[0].weight, trained.model.rest[0].weight)
    linear = train_adapter(fit, data, WhiteBox(lm), replace(settings, kind="linear"), np.random.default_rng(0))
    assert trained.facts["kl"] < linear.facts["kl"]
    monkeypatch.setattr("estimators._world.adapter.LOOK_EVERY", 20)
    longer = replace(AdapterTraining.of("long", data), updates=400, held_out=0.3)
    best = train_adapter(fit, data, WhiteBox(lm), longer, np.random.default_rng(0))
    assert best.facts["agreement"] > 0.8 and best.facts["kl"] < 0.5 * linear.facts["kl"]


def test_of_a_long_training_the_best_look_is_kept_and_it_ends_when_looks_no_longer_gain(monkeypatch):
    monkeypatch.setattr("estimators._world.adapter.LOOK_EVERY", 2)
    monkeypatch.setattr("estimators._world.adapter.PATIENCE", 2)
    model = torch.nn.Linear(1, 1, bias=False)

    def training(updates):
        for done in range(1, updates + 1):
            torch.nn.init.constant_(model.weight, done)
            yield done

    def run(updates, divergences):
        looks = iter(divergences)
        torch.nn.init.constant_(model.weight, 0)
        return keep_best(model, training(updates), updates, lambda: {"kl": next(looks)}), model.weight.item()

    assert run(20, [5.0, 4.0, 3.0, 3.5, 3.2, 1.0]) == ({"kl": 3.0, "kept": 4.0, "updates": 8.0}, 4.0)
    assert run(5, [5.0, 4.0, 3.0, 2.0]) == ({"kl": 2.0, "kept": 5.0, "updates": 5.0}, 5.0)  # a look at the end, too
    assert run(2, [5.0, 6.0]) == ({"kl": 5.0, "kept": 0.0, "updates": 2.0}, 0.0)


def test_the_keys_of_stored_adapters_are_pinned(lm):
    """Whoever renames a field or a kind orphans every adapter that is stored."""
    data = LoggedDataset("t", ("l",), 1.0, 2, (Trajectory("a", "i", "g", (Step("o", "x", 1.0),), logger="l"),))
    keys = [
        AdapterConfig("encoder", "agent", AdapterTraining.of(name, data), None, None).key(data)
        for name in ("long", "short", "linear")
    ]
    assert keys == ["a732bb0cc0510010", "f437482718c4eaa8", "1e57d56ae503e50e"]


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_episodes_of_one_step_teach_an_adapter_nothing_and_do_no_harm(lm):
    data = LoggedDataset("t", ("unknown",), 1.0, 1, tuple(replace(t, steps=t.steps[:1]) for t in episodes(lm, 6)))
    fit = train_world(data, "tiny", Training(updates=2, encoder_updates=1), True, True, np.random.default_rng(0))
    settings = AdapterTraining(updates=3, batch=1)
    trained = train_adapter(fit, data, WhiteBox(lm), settings, np.random.default_rng(0))
    linear = train_adapter(fit, data, WhiteBox(lm), replace(settings, kind="linear"), np.random.default_rng(0))
    for name, weight in trained.model.state_dict().items():
        assert torch.equal(weight, linear.model.state_dict()[name])


@pytest.mark.parametrize(
    "spec",
    [
        "adwm[adapter=short]",
        "adwm[adapter=short,heads=logged]",
        "adwm[adapter=short,behavior=1.0]",
        "adwm[adapter=short,eta=0.0,omega=1.0]",
        "adwm[adapter=linear,eta=0.0]",
        "adwm[adapter=short,guided_below=5.0]",
    ],
)
def test_guided_rollouts_with_a_language_model(lm, spec):
    data = LoggedDataset("t", ("unknown",), 1.0, 4, tuple(episodes(lm, 12)))
    inside = spec[:-1] + "," if spec.endswith("]") else spec + "["
    estimator = registry.make_estimator(f"{inside}size=tiny,updates=5,encoder_updates=3,rollouts=6,sampler_steps=4]")
    policy = LMPolicy("p", lm, epsilon=0.3, explore=explore)
    estimator.fit(data, np.random.default_rng(0))
    one, other = (estimator.estimate(policy, np.random.default_rng(1)) for _ in range(2))
    assert one.value == other.value and np.isfinite(one.value)
    assert 0 <= one.diagnostics["adapter_agreement"] <= 1
    assert ("fit_events_generated" in one.diagnostics) == ("heads=logged" not in spec)
    if estimator.heads == "mixed":  # what was drawn is judged by the heads whose losses are told
        assert one.diagnostics["fit_events"] == estimator.soft_fit().facts["events"]
        assert torch.equal(estimator.world(policy).model.event[0].weight, estimator.soft_fit().model.event[0].weight)
    assert one.interval == "simulation only"


def test_what_an_agent_needs_is_trained_by_preparing_for_it(lm, tmp_path, monkeypatch):
    monkeypatch.setattr(fits, "CACHE", tmp_path)
    data, policy = LoggedDataset("t", ("unknown",), 1.0, 4, tuple(episodes(lm, 12))), LMPolicy("p", lm)
    small = "size=tiny,updates=5,encoder_updates=3,rollouts=6,sampler_steps=4"
    soft = registry.make_estimator(f"adwm[adapter=short,eta=0.0,{small}]").fit(data, np.random.default_rng(0))
    text = registry.make_estimator(f"adwm[eta=0.0,reads=text,{small}]").fit(data, np.random.default_rng(0))
    text.prepare(policy)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    soft.prepare(policy)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3  # heads and adapter
    monkeypatch.setattr(AdapterConfig, "train", None)
    found = soft.estimate(policy, np.random.default_rng(1)).diagnostics
    assert found["adapter_seconds_per_policy"] > 0 and found["fit_heads_seconds"] > 0
