"""Joint diffusion: the guidance gradient, windows of a log, decoding, and generated episodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench import registry
from bench.conformance.robustness import HALF, STUBBORN
from bench.conformance.specimens import GiveUp, Log, Writer
from bench.data import LoggedDataset, Step, Trajectory
from bench.errors import BenchError
from bench.policy import Context
from estimators._joint.candidates import Pool
from estimators._joint.denoiser import WindowDenoiser
from estimators._joint.guidance import GuidanceScales, Judge, Scores, candidate_gradient
from estimators._joint.units import Units
from estimators._joint.windows import Transitions, windows_of
from estimators._world import fits
from estimators._world.reader import LatentReader
from estimators.joint_diffusion import JointDiffusion

TASK = registry.task("toy_chain")
LOG = TASK.log("pooled").subset(90, 0)
SEARCH = Writer("searcher", {"search the room": 0.99, "go on": 0.01})


class Silent:
    """A policy that must not be asked."""

    name = "silent"


@pytest.fixture(scope="module")
def fitted() -> JointDiffusion:
    """A small model, trained long enough to say what the log says."""
    estimator = JointDiffusion(**{**JointDiffusion.tiny, "window_updates": 1000, "rollouts": 100})
    return estimator.fit(LOG, np.random.default_rng(0))


@pytest.fixture(scope="module")
def reader(fitted) -> LatentReader:
    return LatentReader(fitted.fit_.model, fitted.fit_.material)


def simulate(fitted: JointDiffusion, policy, seed: int = 1, **changes):
    changed = replace(fitted, **changes)
    for name in ("data_", "fit_", "windows_"):
        setattr(changed, name, getattr(fitted, name))
    return changed.simulate(policy, np.random.default_rng(seed))


def some_candidates():
    generator = torch.Generator().manual_seed(0)
    draw = [torch.randn(s, generator=generator, dtype=torch.float64) for s in ((5, 3), (5, 4, 3), (5, 4))]
    known = torch.ones(5, 4, dtype=torch.bool)
    known[1, 2:] = False
    return draw[0], draw[1], known, draw[2].log_softmax(dim=-1)


def test_candidate_gradient_is_that_of_the_mixed_probability():
    action, candidates, known, log_prob = some_candidates()
    action.requires_grad_()
    weight = torch.exp(-((action[:, None] - candidates) ** 2).sum(-1) / 0.7) * known  # the formula as it stands
    value = torch.log((weight / weight.sum(-1, keepdim=True) * log_prob.exp()).sum(-1)).sum()
    (expected,) = torch.autograd.grad(value, action)
    found = candidate_gradient(action.detach(), candidates, known, log_prob, 0.7)
    assert torch.allclose(found, expected, atol=1e-10) and float(found.abs().max()) > 0.1


def test_candidate_gradient_agrees_with_finite_differences():
    action, candidates, known, log_prob = some_candidates()

    def value(at: np.ndarray) -> float:
        gaps = [sum((x - y) ** 2 for x, y in zip(at, e, strict=True)) for e in candidates[0].tolist()]
        weights = np.exp(-np.array(gaps) / 1.3)
        return float(np.log(weights @ np.exp(log_prob[0].numpy()) / weights.sum()))

    point, step = action[0].numpy(), 1e-5
    slopes = [(value(point + step * axis) - value(point - step * axis)) / (2 * step) for axis in np.eye(3)]
    assert candidate_gradient(action, candidates, known, log_prob, 1.3)[0].numpy() == pytest.approx(slopes, rel=1e-6)


def test_a_policy_that_takes_no_candidate_gives_no_gradient():
    action, candidates, known, log_prob = some_candidates()
    never, nobody = torch.full_like(log_prob, -torch.inf), torch.zeros_like(known)
    assert not candidate_gradient(action, candidates, known, never, 1.0).any()
    assert not candidate_gradient(action, candidates, nobody, log_prob, 1.0).any()


def test_stitch_subtracts_the_behavior_term():
    action, candidates, known, log_prob = some_candidates()
    scores = Scores(5, 1, 4, 3)
    scores.candidates, scores.known = candidates[:, None], known[:, None]
    scores.log_policy, scores.log_behavior = log_prob[:, None], log_prob.flip(0)[:, None]
    pgd = scores.gradient(action[:, None], GuidanceScales(0.5, 0.0, 1.0))
    stitch = scores.gradient(action[:, None], GuidanceScales(0.5, 0.2, 1.0))
    behavior = candidate_gradient(action, candidates, known, log_prob.flip(0), 1.0)[:, None]
    assert torch.allclose(pgd - stitch, 0.2 * behavior) and behavior.any()
    scores.log_behavior = scores.log_policy
    assert not scores.gradient(action[:, None], GuidanceScales(0.5, 0.5, 1.0)).any()  # the policy is the behavior


def ragged_transitions() -> Transitions:
    """Three episodes: 3 steps that terminated, 2 steps that were cut, 1 step that terminated."""
    episode = torch.tensor([0, 0, 0, 1, 1, 2])
    ended, last = torch.tensor([0.0, 0, 1, 0, 0, 1]), torch.tensor([0, 0, 1, 0, 1, 1]).bool()
    number = torch.arange(6.0)
    return Transitions(number[:, None], torch.eye(6, 3), number[:, None], number, ended, episode, last)


def test_windows_tile_the_log():
    steps = ragged_transitions()
    rows, absorbing = torch.arange(6.0)[:, None], torch.tensor([99.0])
    windows = windows_of(steps, rows, absorbing, 2)
    shown = windows.rows[windows.index][..., 0]
    assert shown.tolist() == [[0, 1], [1, 2], [2, 99], [3, 4], [4, 99], [5, 99]]  # never across episodes
    assert windows.real[:, 1].tolist() == [True, True, True, True, False, True]  # after a cut nobody knows
    assert windows.real[:, 0].all()
    long = windows_of(steps, rows, absorbing, 5)
    for start in range(6):
        inside = long.index[start][long.index[start] < 6]
        mine = [k for k in range(start, 6) if steps.episode[k] == steps.episode[start]]
        assert inside.tolist() == mine


def test_padding_is_not_looked_at():
    units = Units.of(ragged_transitions(), 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = WindowDenoiser(units, 3, 4, "tiny")
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        x, start = torch.randn(2, 3, units.size), torch.randn(2, 4)
    real, looked, level = torch.tensor([[True, True, False]] * 2), torch.zeros(2, dtype=torch.bool), torch.ones(2)
    other = x.clone()
    other[:, 2] = 7.0
    first, second = (model(y, level, start, looked, real)[:, :2] for y in (x, other))
    assert torch.allclose(first, second)
    assert not torch.allclose(first, model(other, level, start, looked, torch.ones_like(real))[:, :2])
    losses = [model.loss(y, start, real, torch.Generator().manual_seed(1), looked) for y in (x, other)]
    assert torch.allclose(*losses)


def test_units_give_back_what_they_were_given():
    steps = ragged_transitions()
    units = Units.of(steps, 3)
    rows = units.rows(steps)
    assert torch.allclose(rows.mean(dim=0), torch.zeros(units.size), atol=1e-5)
    assert torch.allclose(units.after(rows), steps.after, atol=1e-5)
    assert torch.allclose(units.reward(rows), steps.reward, atol=1e-5)
    assert units.ended(rows).tolist() == (steps.ended > 0).tolist()
    assert float(units.reward(rows + 50).max()) == 5.0  # never more than was logged
    assert units.ended(units.absorbing()) and units.reward(units.absorbing()) == pytest.approx(0, abs=1e-6)
    constant = Units.of(replace(steps, reward=torch.full((6,), 0.25), ended=torch.zeros(6)), 3)
    noise = torch.full((1, constant.size), 3.0)
    assert constant.reward(noise).tolist() == [0.25] and not constant.ended(noise)


def test_an_action_decodes_to_itself(fitted, reader):
    units = fitted.windows_.model.units
    pool = Pool(LOG, reader, units)
    for t in LOG.trajectories[:20]:
        vectors = units.action(reader.actions([(t.goal, s.action) for s in t.steps]))
        texts, gaps = pool.nearest(vectors, [(t.instance, t.goal)] * len(t))
        assert texts == [s.action for s in t.steps]
        assert float(gaps.max()) < 1e-8


def test_shortlist_holds_the_likeliest_actions_of_the_instance(fitted, reader):
    pool = Pool(LOG, reader, fitted.windows_.model.units)
    t = LOG.trajectories[0]
    past = torch.zeros(1, fitted.fit_.model.size.past)
    lists = [pool.likeliest(past, [(t.instance, t.goal)], most) for most in (2, 9)]
    assert lists[0].texts[0] == lists[1].texts[0][:2]
    assert lists[1].known.sum() == 5 and lists[1].texts[0][5:] == [None] * 4  # toy_chain has five actions
    assert float(lists[1].log_behavior.exp().sum()) == pytest.approx(1, abs=1e-5)


def test_the_judge_asks_once_and_knows_what_it_left_out():
    context = Context("goal", (), "here")
    judge = Judge(SEARCH)
    found = judge.log_probs([context, context], [["go on", None], ["go on", "sing"]])
    assert found[0, 0] == pytest.approx(np.log(0.01)) and found[0, 1] == -torch.inf and found[1, 1] == -torch.inf
    assert judge.calls == 2 and judge.mass / judge.contexts == pytest.approx(0.01)


def test_without_guidance_it_is_the_behavior_policy(fitted):
    lengths = LOG.columns.lengths
    logged = Counter(s.action for t in LOG.trajectories for s in t.steps)
    returns, steps, distances = [], [], []
    for fit_seed in range(3):  # one training of this size says little
        other = replace(fitted, fit_seed=fit_seed).fit(LOG, np.random.default_rng(0))
        played = simulate(other, Silent(), scale=0.0, rollouts=300)
        assert played.lengths.max() <= LOG.horizon
        returns.append(played.returns.mean())
        steps.append(played.lengths.mean())
        made = Counter(action for episode in played.episodes for _, action, _ in episode)
        distances.append(sum(abs(logged[a] / lengths.sum() - made[a] / played.lengths.sum()) for a in logged) / 2)
    assert np.mean(returns) == pytest.approx(LOG.columns.returns(1.0).mean(), abs=0.12)
    assert np.mean(steps) == pytest.approx(lengths.mean(), abs=0.7)
    assert np.mean(distances) < 0.2, distances


@pytest.mark.parametrize("form", ["pgd", "stitch"])
def test_a_scale_of_zero_is_no_guidance(fitted, form):
    free = simulate(fitted, Silent(), scale=0.0)
    assert simulate(fitted, Silent(), scale=0.0, form=form).episodes == free.episodes
    almost = simulate(fitted, SEARCH, scale=1e-9, form=form)  # takes the way of guidance
    assert [[a for _, a, _ in e] for e in almost.episodes] == [[a for _, a, _ in e] for e in free.episodes]
    assert almost.returns == pytest.approx(free.returns, abs=1e-4)


@pytest.mark.parametrize("form", ["pgd", "stitch"])
def test_guidance_leads_to_what_the_policy_does(fitted, form):
    free, guided = (simulate(fitted, SEARCH, scale=scale, form=form, rollouts=200) for scale in (0.0, 2.0))
    shares = [np.mean([e[0][1] == "search the room" for e in played.episodes]) for played in (free, guided)]
    assert shares[1] > shares[0] + 0.1
    assert guided.diagnostics["candidate_mass"] > 0.9
    assert 0 < guided.diagnostics["policy_calls"] <= 200 * 2 * 4 * 5  # two windows of four positions, five actions
    assert 0 <= guided.diagnostics["stale_context_share"] <= 1


def test_guidance_aims_at_the_product_of_behavior_and_policy():
    """With one decision per window the target is known: pi_b pi_e^alpha, normalized; here 1/2 and 3/4."""
    log = Log(GiveUp(), HALF).exact(160)
    parameters = {**JointDiffusion.tiny, "window": 1, "window_updates": 600, "rollouts": 1000}
    model = JointDiffusion(**parameters).fit(log, np.random.default_rng(0))
    for alpha in (0.0, 0.5, 1.0):
        played = simulate(model, STUBBORN, scale=alpha)
        share = np.mean([action == "carry on" for episode in played.episodes for _, action, _ in episode])
        assert share == pytest.approx(0.75**alpha / (0.75**alpha + 0.25**alpha), abs=0.06), alpha


def test_the_seed_decides(fitted):
    first, again, other = (simulate(fitted, SEARCH, seed=seed).returns for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


def test_a_stored_fit_is_the_fit(fitted):
    again = JointDiffusion(**{**JointDiffusion.tiny, "window_updates": 1000, "rollouts": 100})
    again.fit(LOG, np.random.default_rng(5))
    assert again.windows_ is not fitted.windows_
    assert simulate(again, SEARCH).returns.tolist() == simulate(fitted, SEARCH).returns.tolist()


def test_episodes_that_are_cut_do_not_end_by_themselves():
    def episode(k: int) -> Trajectory:
        steps = tuple(Step("still here", "wait" if (t + k) % 2 else "stay", 0.5) for t in range(3))
        return Trajectory(f"{k}", "room", "Wait.", steps, "still here", False, True, "idler")

    log = LoggedDataset("waiting", ("idler",), 1.0, 3, tuple(episode(k) for k in range(8)))
    short = {"updates": 5, "encoder_updates": 2, "window_updates": 5, "window": 2, "scale": 0.0}
    estimator = JointDiffusion(**{**JointDiffusion.tiny, **short}).fit(log, np.random.default_rng(0))
    played = estimator.simulate(Silent(), np.random.default_rng(0))
    assert set(played.lengths) == {3} and not played.ended.any()
    assert played.returns == pytest.approx(1.5)
    assert np.isnan(played.diagnostics["stale_context_share"])  # at scale 0 nobody is asked


def test_a_log_of_unique_actions_is_declined():
    steps = [replace(s, action=f"{s.action} {t.id} {k}") for t in LOG.trajectories for k, s in enumerate(t.steps)]
    unique = LOG.with_trajectories(replace(LOG.trajectories[i], steps=(step,)) for i, step in enumerate(steps[:90]))
    assert "occur once" in JointDiffusion().unsupported(unique, SEARCH)
    assert JointDiffusion().unsupported(LOG, SEARCH) is None


def test_windows_live_in_the_latents_of_the_world_model_that_decodes_them(tmp_path, monkeypatch):
    """A last step that nobody answered is left out for both: two trainings, not three."""
    monkeypatch.setattr(fits, "CACHE", tmp_path)
    some = list(LOG.trajectories[:40])
    some[0] = replace(some[0], final_observation=None, terminated=False, truncated=True)
    short = {"updates": 5, "encoder_updates": 2, "window_updates": 5}
    JointDiffusion(**{**JointDiffusion.tiny, **short}).fit(LOG.with_trajectories(some), np.random.default_rng(0))
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


@pytest.mark.parametrize("idle", [{"form": "stitch"}, {"tau": 0.2}, {"candidates": 3}])
def test_settings_of_guidance_are_refused_where_there_is_none(idle):
    with pytest.raises(BenchError, match="would do nothing"):
        JointDiffusion(scale=0.0, **idle).fit(LOG, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "bad"), [("form", "both"), ("window", 0), ("tau", 0.0), ("scale", -1.0), ("candidates", 0)]
)
def test_impossible_parameters_are_refused(name, bad):
    with pytest.raises(BenchError, match=name):
        JointDiffusion(**{name: bad}).fit(LOG, np.random.default_rng(0))
