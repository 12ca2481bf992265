"""World models: with the true kernel they give the true value; trained ones learn what they are shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench import registry
from bench.data import LoggedDataset, Step, Trajectory
from bench.errors import BenchError
from estimators._averagers import sample_target_actions
from estimators._world import fits
from estimators._world import training as training_module
from estimators._world.denoiser import Denoiser
from estimators._world.devices import TRAIN_ON
from estimators._world.diffusion_world import DiffusionWorld, Guidance
from estimators._world.guidance import Continuation, Pools
from estimators._world.heads import generated
from estimators._world.layers import unit
from estimators._world.material import Material
from estimators._world.model import SIZES, WorldModel
from estimators._world.model_values import values_from_simulation
from estimators._world.rollout import simulate
from estimators._world.sampler import ArcSampler
from estimators._world.training import Lesson, Training, train_world
from estimators._world.tuned_scales import tuned_scales
from estimators._world.world import LONGEST, Answer, Start, World, answered, starts_of
from studies._heads import _unguided
from tasks.toy_chain.exact import ExactQ
from tasks.toy_chain.world import ToyChainEnvironment
from tests.house import ROOT

TASK = registry.task("toy_chain")
TINY = Training(updates=60, encoder_updates=40, measure_every=30)


class TrueWorld(World):
    """The environment itself behind the interface of a world model."""

    def reset(self, starts, rng):
        self.rooms = [ToyChainEnvironment(rng) for _ in starts]
        for room, start in zip(self.rooms, starts, strict=True):
            assert room.reset(start.instance) == (start.goal, start.observation)

    def step(self, actions):
        return [
            None if action is None else Answer(*room.step(action))
            for room, action in zip(self.rooms, actions, strict=True)
        ]


@pytest.mark.parametrize("name", ["same", "color_blind"])
def test_the_true_kernel_gives_the_true_value(name):
    data, policy = TASK.log("pooled").subset(50, 0), TASK.policy(name)
    starts = starts_of(data, 2000, np.random.default_rng(1))
    played = simulate(TrueWorld(), policy, starts, data.horizon, data.gamma, np.random.default_rng(2))
    error = played.returns.mean() - TASK.truth(name).mean
    assert abs(error) < 3 * played.returns.std() / np.sqrt(len(starts))
    assert played.returns == pytest.approx([sum(r for _, _, r in e) for e in played.episodes])


def test_simulated_episodes_are_trajectories_like_logged_ones():
    data, policy = TASK.log("pooled").subset(50, 0), TASK.policy("same")
    starts = starts_of(data, 20, np.random.default_rng(1))
    played = simulate(TrueWorld(), policy, starts, data.horizon, data.gamma, np.random.default_rng(2))
    joined = LoggedDataset(data.task, ("simulated",), data.gamma, data.horizon, tuple(played.trajectories()))
    assert joined.columns.returns(data.gamma) == pytest.approx(played.returns)
    assert joined.columns.lengths.tolist() == played.lengths.tolist()
    assert [t.terminated for t in joined.trajectories] == played.ended.tolist()


def test_q_from_simulated_episodes_is_that_of_the_policy_at_the_logged_steps():
    """Q and V of adwm_dr, with the environment itself as the model."""
    data, policy = TASK.log("pooled").subset(60, 0), TASK.policy("careful")
    starts = starts_of(data, 3000, np.random.default_rng(1))
    played = simulate(TrueWorld(), policy, starts, data.horizon, data.gamma, np.random.default_rng(2)).trajectories()
    actions = sample_target_actions(policy, data, 40, np.random.default_rng(3))
    q, v = values_from_simulation(data, played, actions, (16, 20, 5), np.random.default_rng(4))
    exact = [ExactQ(policy).episode(t) for t in data.trajectories]
    for found, wanted in ((q, np.concatenate([x for x, _ in exact])), (v, np.concatenate([x for _, x in exact]))):
        error = np.sqrt(((found - wanted) ** 2).mean())
        assert error < 0.35 * wanted.std()


def fit(data, **changes):
    return train_world(data, "tiny", replace(TINY, **changes), True, True, np.random.default_rng(0))


@pytest.fixture(scope="module")
def log():
    return TASK.log("pooled").subset(200, 0)


@pytest.fixture(scope="module")
def trained(log):
    return fit(log, updates=300, encoder_updates=80)


def test_knowing_the_action_helps(trained):
    assert trained.facts["gain"] > 0.1
    assert trained.facts["reward_mae"] < 0.02


def test_the_same_generator_trains_the_same_weights_and_leaves_the_global_one_alone(log):
    torch.random.manual_seed(5)
    before = torch.random.get_rng_state()
    one, other = fit(log), fit(log)
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_frozen_encoder_is_not_trained_and_the_rest_is(log):
    trained, frozen = fit(log), fit(log, frozen_encoder=True)
    start = fit(log, frozen_encoder=True, updates=1, measure_every=1)
    assert torch.equal(start.model.encoder.word.weight, frozen.model.encoder.word.weight)
    assert not torch.equal(start.model.encoder.word.weight, trained.model.encoder.word.weight)
    assert not torch.allclose(start.model.denoiser.input.weight, frozen.model.denoiser.input.weight, atol=1e-3)


def test_heads_that_saw_generated_latents_judge_them_better_and_all_else_is_kept(log, tmp_path, monkeypatch):
    monkeypatch.setattr(fits, "CACHE", tmp_path)
    monkeypatch.setattr(fits, "COMMITTED", tmp_path / "none")
    specs = [f"adwm[eta=0.0,size=tiny,encoder_updates=40,updates=60,heads={heads}]" for heads in ("logged", "mixed")]
    logged, mixed = (registry.make_estimator(spec).fit(log, np.random.default_rng(0)).soft_fit() for spec in specs)
    facts = mixed.facts
    assert facts["events_generated"] < facts["events_generated_before"]
    assert facts["events"] + facts["events_generated"] < logged.facts["events"] + facts["events_generated_before"]
    before, after = logged.model.state_dict(), mixed.model.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"event"}
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    estimator = registry.make_estimator(specs[1]).fit(log, np.random.default_rng(0))
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()
    with torch.no_grad():  # the study of the heads only looks; what is not trained yet is, all the same
        estimator.soft_fit()
    for soft, model in ((True, mixed.model), (False, logged.model)):
        assert torch.equal(_unguided(estimator, soft).model.event[0].weight, model.event[0].weight)


def test_generated_latents_stand_where_logged_ones_stood(trained):
    lesson = Lesson(trained.model, trained.material, TINY, torch.Generator().manual_seed(0))
    lesson.freeze()
    batch = lesson.batch(range(100))
    flat, _ = lesson.frozen(trained.model, batch)
    before, after = generated(trained.model, batch, flat, torch.Generator().manual_seed(1))
    lengths = batch.real.sum(dim=1).tolist()
    for z, made, logged in zip(before.split(lengths), after.split(lengths), flat.z.split(lengths), strict=True):
        assert torch.equal(z[0], logged[0]) and torch.equal(z[1:], made[:-1])
    apart = torch.cdist(after, flat.after)
    assert apart.diagonal().mean() < 0.75 * apart.mean()  # nearer to its own than to others


def test_heads_hold_out_the_episodes_that_their_model_held_out(log, monkeypatch):
    drawn = []
    real = training_module.split
    monkeypatch.setattr(training_module, "split", lambda *args: drawn.append(real(*args)) or drawn[-1])
    config = fits.FitConfig("tiny", replace(TINY, updates=1, encoder_updates=1), True, True, 0)
    config.train(log)
    (learned, held_out), (mine, theirs) = drawn[0], config.split(len(log))
    assert np.array_equal(learned, mine) and np.array_equal(held_out, theirs)
    assert not set(held_out) & set(learned) and len(held_out) == 20


class _Ascent:
    """A continuation whose gradient is always (1, 0, ...), and which remembers where it was asked."""

    def __init__(self, below):
        self.below, self.asked = below, []

    def active(self, sigma):
        return Continuation.active(self, sigma)

    def gradient(self, clean, sigma):
        self.asked.append(sigma)
        return torch.eye(clean.shape[1])[:1].expand(len(clean), -1)


@pytest.mark.parametrize("below", [1.0, 5.0])
def test_guidance_acts_below_its_level_and_its_scale_stops_growing_at_one(trained, log, below):
    world = DiffusionWorld(trained, log, Guidance(1.0, 2.0, below=below), 8, None)
    monkey = _Ascent(below)
    world._denoise = lambda now, z, sigma: torch.zeros_like(z)
    moved = {s: float(world._guided(None, monkey, torch.zeros(1, 16), s)[0, 0]) for s in (0.1, 0.5, 0.9, 2.0, 4.0, 6.0)}
    expected = {s: 2.0 * world.sampler.progress(s) ** 2 * min(s, 1.0) ** 2 * (0.3 < s < below) for s in moved}
    assert moved == pytest.approx(expected)
    assert (2.0 in monkey.asked) == (below == 5.0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("adwm[eta=0,guided_below=5]", "switches it off"),
        ("adwm[guided_below=5,tuned=true]", "switches it off"),
        ("adwm[guided_below=0.2]", "above 0.3"),
        ("adwm[guided_below=0.35]", "no noise level"),
        ("adwm[guided_below=0.6,sampler_steps=4]", "no noise level"),
        ("gaussian_wm[encoder_updates=5,frozen_encoder=true]", "would do nothing"),
        ("adwm_dr[encoder_updates=5,frozen_encoder=true]", "would do nothing"),
        ("adwm[guided_below=50]", "at most 27"),
        ("adwm[eta=0,heads=logged,reads=text]", "would do nothing"),
        ("adwm[adapter=short,eta=0,reads=text]", "would do nothing"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(log, spec, message):
    with pytest.raises(BenchError, match=message):
        registry.make_estimator(spec).fit(log, np.random.default_rng(0))


def test_a_stored_fit_gives_the_number_of_a_fresh_one(log, tmp_path, monkeypatch):
    monkeypatch.setattr(fits, "CACHE", tmp_path)
    monkeypatch.setattr(fits, "COMMITTED", tmp_path / "none")
    make = lambda: registry.make_estimator("adwm[eta=0.0,updates=20,encoder_updates=5,size=tiny,rollouts=10]")  # noqa: E731
    policy, values = TASK.policy("same"), []
    for _ in range(2):
        estimator = make().fit(log, np.random.default_rng(len(values)))
        values.append(estimator.estimate(policy, np.random.default_rng(3)).value)
        assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert values[0] == values[1]
    again = make().fit(log, np.random.default_rng(0)).estimate(policy, np.random.default_rng(4)).value
    assert again != values[0]


def test_refit_trains_what_is_older_than_the_run_and_only_that(log, tmp_path, monkeypatch):
    monkeypatch.setattr(fits, "CACHE", tmp_path)
    trained = []
    real = fits.train_world
    monkeypatch.setattr(fits, "train_world", lambda *args: trained.append(1) or real(*args))
    make = lambda: registry.make_estimator("gaussian_wm[updates=2,encoder_updates=1,size=tiny]")  # noqa: E731
    make().fit(log, np.random.default_rng(0))
    make().fit(log, np.random.default_rng(0))
    assert len(trained) == 1
    monkeypatch.setenv(fits.REFIT, str(time.time() + 0.01))
    time.sleep(0.02)
    make().fit(log, np.random.default_rng(0))
    make().fit(log, np.random.default_rng(0))
    assert len(trained) == 2


def test_instances_are_told_apart_only_where_they_are_a_fixed_list(log):
    assert len(fit(log, updates=1, measure_every=1).material.instances) == 10
    sample = replace(log, fixed_instances=False)
    assert not fit(sample, updates=1, measure_every=1).material.instances


def test_a_world_remembers_what_its_model_reads_in_one_go(trained, log):
    """Columns that are appended one by one, to a cache that loses rows, end in the states of the training."""
    world = DiffusionWorld(trained, log, Guidance(1.0, 0.0), 3, None)
    episodes = sorted(log.trajectories, key=len)[-12:]
    length = min(map(len, episodes))
    world.reset([Start(t.instance, t.goal, t.steps[0].observation) for t in episodes], np.random.default_rng(0))
    going, shown, did = list(range(len(episodes))), [[t.steps[0].observation] for t in episodes], [[] for _ in episodes]
    for k in range(length):
        asked = [episodes[i].steps[k].action if i in going else None for i in range(len(episodes))]
        for i, answer in enumerate(world.step(asked)):
            if answer is not None:
                shown[i].append(answer.observation)
                did[i].append(asked[i])
        assert world.live.rows == going
        for row, i in enumerate(going):
            goal = episodes[i].goal
            z = world.reader.observations([(goal, text) for text in shown[i]])
            action = world.reader.actions([(goal, text) for text in [*did[i], did[i][-1]]])
            past, _ = trained.model.past(z[None], action[None], world.reader.about([(episodes[i].instance, goal)]))
            assert torch.allclose(world.live.past[row], past[0, -1], atol=1e-5)
        going = going[1:]


def test_a_log_longer_than_the_history_is_declined_and_the_longest_is_not(log):
    for name in ("adwm", "gaussian_wm"):
        estimator = registry.make_estimator(f"{name}[{'eta=0.0,' * (name == 'adwm')}size=tiny]")
        assert "holds 255 steps" in estimator.unsupported(replace(log, horizon=LONGEST + 1), TASK.policy("same"))
        assert estimator.unsupported(replace(log, horizon=LONGEST), TASK.policy("same")) is None
    model = WorldModel(SIZES["tiny"], torch.tensor([0.0, 1.0]), True, 1)
    assert model.turn.num_embeddings == 2 * LONGEST + 2  # the last answer stands in column 2 * LONGEST


def test_negation_is_not_lost_by_the_encoder():
    """Two observations that differ by one word and have opposite consequences: a linear probe tells their latents
    apart."""
    rng, episodes = np.random.default_rng(0), []
    for i in range(240):
        place, closed = ("hall", "attic", "barn", "cellar", "shed", "mill")[i % 6], bool(rng.integers(2))
        text = f"You are in the {place}. The old door to the {place} is {'not ' if closed else ''}open now."
        after = "You bump your head." if closed else "You walk out into the light."
        steps = (Step(text, "go through", 0.0 if closed else 1.0),)
        episodes.append(Trajectory(str(i), place, "Get out.", steps, after))
    data = LoggedDataset("doors", ("unknown",), 1.0, 1, tuple(episodes))
    model = fit(data, encoder_updates=100, updates=10, measure_every=10)
    texts = sorted({(t.goal, t.steps[0].observation) for t in episodes})
    with torch.no_grad():
        z = model.model.read(*model.material.vocabulary.batch(texts)).observation.numpy()
    label = np.array([" not " in text for _, text in texts])
    for k in range(0, len(texts), 2):  # probe trained on five rooms, asked about the sixth
        own = np.arange(len(texts)) // 2 == k // 2  # sorted: the two texts of a room are neighbors
        x = np.c_[z, np.ones(len(z))]
        weights = np.linalg.lstsq(x[~own], 2.0 * label[~own] - 1, rcond=1e-2)[0]
        assert ((x[own] @ weights > 0) == label[own]).all()


def two_modes(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Action 0 leads to one of two points, three times in ten to the first; action 1 always to a third."""
    points = unit(torch.randn(3, 8, generator=torch.Generator().manual_seed(1)))
    action = (torch.rand(n, generator=generator) < 0.5).long()
    first = torch.rand(n, generator=generator) < 0.3
    return points[torch.where(action == 1, 2, torch.where(first, 0, 1))], action


def test_a_conditional_with_two_modes_is_recovered_and_omega_leans_toward_the_action():
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        model = Denoiser(8, 4, 2, 64, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    for _ in range(600):
        clean, action = two_modes(256, generator)
        past = torch.zeros(256, 4)
        loss = model.loss(clean, past, past, torch.nn.functional.one_hot(action, 2).float(), generator).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    points = unit(torch.randn(3, 8, generator=torch.Generator().manual_seed(1)))

    @torch.no_grad()
    def shares(omega: float) -> list[float]:
        n = 2000
        past, action = torch.zeros(n, 4), torch.tensor([[1.0, 0.0]]).expand(n, 2)

        def denoise(z, sigma):
            level = torch.full((n,), sigma)
            given = model(z, level, past, past, action, torch.zeros(n, dtype=torch.bool))
            free = model(z, level, past, past, action, torch.ones(n, dtype=torch.bool))
            return free + omega * (given - free)

        drawn = ArcSampler(20.0).sample(denoise, torch.randn(n, 8, generator=generator))
        nearest = torch.cdist(drawn, points).argmin(dim=1)
        return (torch.bincount(nearest, minlength=3) / n).tolist()

    assert shares(1.0) == pytest.approx([0.3, 0.7, 0.0], abs=0.05)
    assert shares(0.0)[2] == pytest.approx(0.5, abs=0.08)
    assert shares(2.0)[2] < 0.02


def test_retrieval_abstains_where_nothing_is_near(log):
    class Stranger:
        name = "stranger"

        def start(self, goals, seeds):
            from bench.policy import Decision

            class Session:
                def step(self, observations):
                    return [None if o is None else Decision("zxqv wvut", 0.0) for o in observations]

            return Session()

    strict = registry.make_estimator("retrieval_wm[abstain=0.3,rollouts=10]").fit(log, np.random.default_rng(0))
    lenient = registry.make_estimator("retrieval_wm[abstain=1.0,rollouts=10]").fit(log, np.random.default_rng(0))
    found = strict.estimate(Stranger(), np.random.default_rng(1))
    assert found.diagnostics["abstained_share"] == 1 and found.value == 0 and found.diagnostics["simulated_length"] == 1
    assert lenient.estimate(Stranger(), np.random.default_rng(1)).diagnostics["abstained_share"] == 0


def test_black_box_policies_are_declined_where_gradients_are_needed(log):
    policy = TASK.policy("same")
    assert "black box" in registry.make_estimator("adwm").unsupported(log, policy)
    assert "black box" in registry.make_estimator("adwm[eta=0.0,reads=soft]").unsupported(log, policy)
    assert registry.make_estimator("adwm[eta=0.0]").unsupported(log, policy) is None
    for setting in ("adapter=linear", "heads=logged"):
        assert "would do nothing" in registry.make_estimator(f"adwm[eta=0.0,{setting}]").unsupported(log, policy)
    assert "soft tokens" in registry.make_estimator("adwm[reads=text]").unsupported(log, Opened())


class Opened:
    name, white_box = "opened", None


def test_tuned_scales_come_from_other_tasks_and_are_said(log, tmp_path, monkeypatch):
    tuned = "adwm[tuned=true,updates=20,encoder_updates=5,size=tiny,rollouts=10]"
    monkeypatch.setattr(fits, "CACHE", tmp_path)
    monkeypatch.setattr("estimators._world.tuned_scales.CHOSEN", tmp_path / "scales.json")
    with pytest.raises(BenchError, match="studies.ablation"):
        registry.make_estimator(tuned).fit(log, np.random.default_rng(0)).world(TASK.policy("expert"))
    own = {"others": ["far_world"], "chosen": None, "chosen_without_gradient": {"omega": 2.0, "eta": 0.0}}
    content = {"tasks": {"toy_chain": own}, "elsewhere": own | {"others": []}, "estimator": "adwm[adapter=short]"}
    (tmp_path / "scales.json").write_text(json.dumps(content))
    estimator = registry.make_estimator(tuned).fit(log, np.random.default_rng(0))
    world = estimator.world(TASK.policy("expert"))
    assert (world.guidance.omega, world.guidance.eta) == (2.0, 0.0)
    assert "far_world, as scales of adwm[adapter=short]" in world.note and "black box" in world.note
    diagnostics = estimator.estimate(TASK.policy("expert"), np.random.default_rng(0)).diagnostics
    assert (diagnostics["tuned_omega"], diagnostics["tuned_eta"]) == (2.0, 0.0)
    with pytest.raises(BenchError, match="no scales"):
        tuned_scales("toy_chain", gradient=True)
    with pytest.raises(BenchError, match="would do nothing"):
        registry.make_estimator("adwm[tuned=true,omega=1.0]").fit(log, np.random.default_rng(0))


def test_one_member_of_the_ensemble_is_the_exact_kernel_and_more_are_dealt_the_episodes_in_turn(log):
    policy, tiny = TASK.policy("same"), dict(size="tiny", rollouts=20, updates=30, encoder_updates=20, sampler_steps=3)

    def judged(name, **parameters):
        estimator = registry.estimator_class(name)(**tiny, **parameters).fit(log, np.random.default_rng(0))
        return estimator, estimator.estimate(policy, np.random.default_rng(1))

    _, kernel = judged("adwm", omega=1.0, eta=0.0, reads="text")
    _, alone = judged("diffusion_wm", fits=1)
    assert alone.terms == pytest.approx(kernel.terms, abs=0) and "between_fits_sd" not in alone.diagnostics
    several, together = judged("diffusion_wm", fits=3)
    parts = several._play(policy, np.random.default_rng(1))
    assert [len(part.starts) for part in parts] == [7, 7, 6]
    assert together.terms[1::3, 0] == pytest.approx(parts[1].returns, abs=0)
    means = [part.returns.mean() for part in parts]
    assert together.diagnostics["between_fits_sd"] == pytest.approx(np.std(means, ddof=1))
    assert together.diagnostics["fit_gain"] == min(fit.facts["gain"] for fit in several.fits_)
    with pytest.raises(BenchError, match="between 1 and rollouts"):
        judged("diffusion_wm", fits=21)


def test_a_step_nobody_answered_is_no_transition():
    def episode(n, final, terminated):
        steps = tuple(Step(f"room {t}", "go on", 0.0) for t in range(n))
        return Trajectory(f"{n} {final} {terminated}", "i", "g", steps, final, terminated, not terminated, "l")

    known, ended, cut, lost = (
        episode(3, "hall", False),
        episode(2, None, True),
        episode(3, None, False),
        episode(1, None, False),
    )
    data = LoggedDataset("t", ("l",), 1.0, 5, (known, ended, cut, lost))
    found = answered(data)
    assert [len(t) for t in found.trajectories] == [3, 2, 2]
    assert found.trajectories[2].final_observation == "room 2" and not found.trajectories[2].terminated
    assert answered(found) is found
    with pytest.raises(BenchError, match="one step long"):
        answered(LoggedDataset("t", ("l",), 1.0, 5, (lost,)))


def test_final_observations_are_words_of_the_log_and_cut_ones_are_counted(log):
    material = Material(log, 512, 4, True)
    finals = {w for t in log.trajectories for w in (t.final_observation or "").split()[:1]}
    assert all(w.lower().strip(".,!") in material.vocabulary.words for w in finals)
    observations = [s.observation for t in log.trajectories for s in t.steps]
    assert material.cut_share == pytest.approx(np.mean([len(re.findall(r"\w+|[^\w\s]", x)) > 4 for x in observations]))


def test_the_order_in_which_texts_are_read_does_not_depend_on_the_process(log):
    """Batches of texts decide the last digits: sets must be sorted by more than length before they are cut up."""
    script = (
        "import sys; import numpy as np; from bench import registry; from bench.rng import rng_for;"
        "t = registry.task('toy_chain'); e = registry.make_estimator('gaussian_wm[]');"
        "e.size, e.updates, e.encoder_updates, e.rollouts = 'tiny', 20, 10, 30;"
        "e.fit(t.log('pooled').subset(40, 0), np.random.default_rng(0));"
        "print(repr(e.estimate(t.policy('same'), np.random.default_rng(1)).terms.tolist()))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    printed = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**environment, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(printed) == 1


def test_the_log_is_cloned_without_favor_for_rare_actions():
    """One action in every episode, another in one of ten: the head must say how often each is taken."""
    steps = [("rare" if k % 10 == 0 else "usual") for k in range(200)]
    episodes = tuple(
        Trajectory(str(k), "i", "g", (Step("here", text, 0.0), Step("there", "stop", 1.0)), "end", True, False, "l")
        for k, text in enumerate(steps)
    )
    data = LoggedDataset("t", ("l",), 1.0, 2, episodes)
    training = Training(updates=300, encoder_updates=60, steps=8, frozen_steps=8)
    shares = []
    for seed in range(3):
        fit = train_world(data, "tiny", training, True, False, np.random.default_rng(seed))
        model, material = fit.model, fit.material
        texts = [("g", "here"), ("g", "rare"), ("g", "usual"), ("g", "stop"), ("g", "g")]
        read = model.read(*material.vocabulary.batch(texts))
        past, _ = model.past(
            read.observation[:1, None], read.action[:1, None], model.about(read.goal[4:], torch.tensor([0]))
        )
        shares.append(float((read.action[1:4] @ model.behavior(past[0, 0])).softmax(dim=0)[0]))
    assert np.mean(shares) == pytest.approx(0.1, abs=0.05)  # without the correction .29


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_training_on_a_gpu_learns_as_much(log, monkeypatch):
    training = Training(updates=200, encoder_updates=60)
    on_cpu = train_world(log, "tiny", training, True, True, np.random.default_rng(0))
    monkeypatch.setenv(TRAIN_ON, "cuda")
    on_gpu = train_world(log, "tiny", training, True, True, np.random.default_rng(0))
    assert (on_cpu.facts["on_gpu"], on_gpu.facts["on_gpu"]) == (0.0, 1.0)
    assert on_gpu.facts["events"] == pytest.approx(on_cpu.facts["events"], rel=0.5)
    assert {p.device.type for p in on_gpu.model.parameters()} == {"cpu"}


def test_a_device_that_is_not_there_is_an_error(log, monkeypatch):
    monkeypatch.setenv(TRAIN_ON, "toaster")
    with pytest.raises(BenchError, match="toaster"):
        train_world(log, "tiny", TINY, True, True, np.random.default_rng(0))


@pytest.mark.parametrize(("size", "millions"), [("cpu", 2.7), ("paper", 7.4)])
def test_sizes_are_what_the_help_says(size, millions):
    model = WorldModel(SIZES[size], torch.tensor([0.0, 1.0]), True, 50)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


def test_the_pool_of_the_negative_term_is_that_of_the_instance(log):
    pools = Pools(log)
    first = log.trajectories[0]
    mine = {s.action for t in log.trajectories if t.instance == first.instance for s in t.steps}
    known = first.steps[0].action
    assert pools.with_first(first.instance, known)[0] == known
    assert sorted(pools.with_first(first.instance, known)) == sorted(mine)
    assert pools.with_first(first.instance, "dance")[0] == "dance" and len(pools.with_first("nowhere", "dance")) > 1
