"""Generates whole episodes window by window; the policy acts through guidance alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bench.data import LoggedDataset
from bench.policy import Context, Policy
from estimators._joint.candidates import Place, Pool
from estimators._joint.denoiser import LARGEST_NOISE
from estimators._joint.guidance import GuidanceScales, Judge, Scores
from estimators._joint.training import WindowFit
from estimators._world.bank import Bank, as_generator, pairs
from estimators._world.reader import LatentReader
from estimators._world.rollout import Episode, Simulation, parts, simulation
from estimators._world.sampler import ArcSampler
from estimators._world.training import Fit
from estimators._world.world import Start

SAMPLER = ArcSampler(LARGEST_NOISE, steps=14, power=1.0)
"""Even steps: in a window it is decided at much noise which actions and observations it holds. With 10 of them guidance
falls short of what it aims at (tests/test_joint_diffusion.py)."""
GUIDED_BELOW = 20.0
"""Noise level that few training samples lie above: there all windows look alike, and the denoiser's derivative means
nothing.

At the first of them the later actions of a window are asked about: what precedes them can be decoded from its estimate,
and what they will be is still open.
"""


@dataclass
class Live:
    """B unfinished episodes, t steps each.

    Attributes:
        rows: which episode each is. starts: where they began.
        goal: (B, past) what each is about. seen: (B, t + 1, latent). did: (B, t, action).
        history: past (observation, action) pairs. shown: current observations.
    """

    rows: list[int]
    starts: list[Start]
    goal: Tensor
    seen: Tensor
    did: Tensor
    history: list[tuple[tuple[str, str], ...]]
    shown: list[str]

    @property
    def places(self) -> list[Place]:
        """Instance and goal of each."""
        return [(s.instance, s.goal) for s in self.starts]

    def context(self, k: int) -> Context:
        """What the agent of an episode would look at."""
        return Context(self.starts[k].goal, self.history[k], self.shown[k])

    def keep(self, kept: list[int]) -> Live:
        """Only some of them."""
        return Live(
            *([part[k] for k in kept] for part in (self.rows, self.starts)),
            *(part[kept] for part in (self.goal, self.seen, self.did)),
            *([part[k] for k in kept] for part in (self.history, self.shown)),
        )


@dataclass
class Tally:
    """What is to be reported of a simulation.

    Attributes:
        gaps: of every decoded action to what was generated.
        asked: contexts that the policy was asked about in the present window, by (episode, position).
        same: for each later position that was reached, whether it was reached in the context asked about; not where
            nothing was asked, because the estimate then had the episode end before.
    """

    gaps: list[float] = field(default_factory=list)
    asked: dict[tuple[int, int], Context] = field(default_factory=dict)
    same: list[bool] = field(default_factory=list)

    def count(self, live: Live, position: int) -> None:
        """Looks whether the contexts that were asked about are those that came to be."""
        if position > 0 and self.asked:
            asked = ((self.asked.get((row, position)), live.context(k)) for k, row in enumerate(live.rows))
            self.same += [then == now for then, now in asked]


class WindowSimulator:
    """Samples windows under guidance, decodes them, and begins the next at the last state of the one before.

    Observations become the nearest logged answers to the decoded action and are read again; actions become the nearest
    logged ones of the instance. Reward and ending are the window's own.

    Args:
        most: K, actions per context that the policy is asked about.
    """

    def __init__(self, fit: Fit, windows: WindowFit, data: LoggedDataset, scales: GuidanceScales, most: int):
        self.model, self.denoiser, self.scales, self.most = fit.model, windows.model, scales, most
        self.units, self.length = windows.model.units, windows.model.length
        self.data = data
        self.reader = LatentReader(fit.model, fit.material)
        self.pool = Pool(data, self.reader, self.units)
        latents = self.reader.observations(pairs(data))
        self.bank, self.draft = Bank(data, latents), Bank(data, latents)  # drafts do not count in what is reported

    @torch.no_grad()
    def play(self, policy: Policy, starts: Sequence[Start], rng: np.random.Generator) -> Simulation:
        """One episode per start."""
        self.generator, self.judge, self.tally = as_generator(rng), Judge(policy), Tally()
        episodes: list[Episode] = []
        for part in parts(len(starts)):
            episodes += self._play(starts[part])
        return simulation(starts, episodes, self.data.horizon, self.data.gamma, self._diagnostics())

    def _play(self, starts: Sequence[Start]) -> list[Episode]:
        """Some of the episodes, in lockstep."""
        live, episodes, t = self._begin(starts), [Episode() for _ in starts], 0
        while live.rows and t < self.data.horizon:
            window = self._sample(live, t)
            reward, over = self.units.reward(window).tolist(), self.units.ended(window).tolist()
            for j in range(min(self.length, self.data.horizon - t)):
                going = [k for k, row in enumerate(live.rows) if not episodes[row].ended]
                live, window = live.keep(going), window[going]
                reward, over = [reward[k] for k in going], [over[k] for k in going]
                if not going:
                    break
                self.tally.count(live, j)
                before, gaps = live.shown, self.extend(live, window[:, j], self.bank)
                self.tally.gaps += gaps.tolist()
                for k, row in enumerate(live.rows):
                    episodes[row].steps.append((before[k], live.history[k][-1][1], reward[k][j]))
                    episodes[row].ended = over[k][j]
            live = live.keep([k for k, row in enumerate(live.rows) if not episodes[row].ended])
            t += self.length
        return episodes

    def extend(self, live: Live, row: Tensor, bank: Bank) -> Tensor:
        """Appends one decoded transition, (B, D) standardized, to live episodes; (B,) distances of the actions."""
        actions, gaps = self.pool.nearest(self.units.blocks(row)[0], live.places)
        self.append(live, row, actions, bank)
        return gaps

    def append(self, live: Live, row: Tensor, actions: Sequence[str], bank: Bank) -> None:
        """Appends one transition, (B, D) standardized, whose actions are known; only the observation is decoded."""
        goals = [s.goal for s in live.starts]
        shown = bank.nearest(self.units.after(row), [s.instance for s in live.starts], actions)
        did = self.reader.actions(list(zip(goals, actions, strict=True)))
        seen = self.reader.observations(list(zip(goals, shown, strict=True)))
        live.history = [(*h, (o, a)) for h, o, a in zip(live.history, live.shown, actions, strict=True)]
        live.did, live.seen = torch.cat([live.did, did[:, None]], dim=1), torch.cat([live.seen, seen[:, None]], dim=1)
        live.shown = shown

    def past(self, live: Live) -> Tensor:
        """(B, past) history states after the current observations."""
        did = torch.cat([live.did, live.did.new_zeros(len(live.rows), 1, live.did.shape[2])], dim=1)
        return self.model.past(live.seen, did, live.goal)[0][:, -1]

    def _begin(self, starts: Sequence[Start]) -> Live:
        seen = self.reader.observations([(s.goal, s.observation) for s in starts])[:, None]
        did = torch.zeros(len(starts), 0, self.model.size.action)
        about = self.reader.about([(s.instance, s.goal) for s in starts])
        shown = [s.observation for s in starts]
        return Live(list(range(len(starts))), list(starts), about, seen, did, [()] * len(starts), shown)

    def _sample(self, live: Live, t: int) -> Tensor:
        """(B, W, D) windows under guidance."""
        count, past = len(live.rows), self.past(live)
        start = torch.cat([past, live.seen[:, -1]], dim=-1)
        scores = Scores(count, self.length, self.most, self.units.actions)
        self.tally.asked.clear()
        looked, real = torch.zeros(count, dtype=torch.bool), torch.ones(count, self.length, dtype=torch.bool)

        def denoise(x: Tensor, sigma: float) -> Tensor:
            level = torch.full((count,), sigma)
            if self.scales.policy == 0 or sigma > GUIDED_BELOW:
                return self.denoiser(x, level, start, looked, real)
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                clean = self.denoiser(x, level, start, looked, real)
                action = self.units.blocks(clean)[0]
                if not scores.known.any():
                    self._ask_all(scores, live, clean.detach(), t)
                (moved,) = torch.autograd.grad(action, x, scores.gradient(action.detach(), self.scales))
            return clean.detach() + sigma**2 * moved

        return SAMPLER.sample(denoise, torch.randn(count, self.length, self.units.size, generator=self.generator))

    def _ask_all(self, scores: Scores, live: Live, clean: Tensor, t: int) -> None:
        """Asks the policy about every position of a window, given what precedes it in its present estimate."""
        over, draft = self.units.ended(clean), live.keep(list(range(len(live.rows))))
        kept = list(range(len(live.rows)))
        self._ask(scores, draft, kept, 0)
        for j in range(1, min(self.length, self.data.horizon - t)):
            going = [i for i, k in enumerate(kept) if not over[k, j - 1]]
            draft, kept = draft.keep(going), [kept[i] for i in going]
            if not kept:
                return
            self.extend(draft, clean[kept, j - 1], self.draft)
            self._ask(scores, draft, kept, j)

    def _ask(self, scores: Scores, live: Live, windows: list[int], position: int) -> None:
        shortlist = self.pool.likeliest(self.past(live), live.places, self.most)
        contexts = [live.context(k) for k in range(len(live.rows))]
        log_policy = self.judge.log_probs(contexts, shortlist.texts)
        scores.put([(window, position) for window in windows], shortlist, log_policy)
        self.tally.asked |= {(row, position): context for row, context in zip(live.rows, contexts, strict=True)}

    def _diagnostics(self) -> dict[str, float]:
        judge = self.judge
        return {
            "decoding_error": float(np.mean(self.tally.gaps)),
            "candidate_mass": judge.mass / judge.contexts if judge.contexts else float("nan"),
            "policy_calls": float(judge.calls),
            "stale_context_share": 1 - float(np.mean(self.tally.same)) if self.tally.same else float("nan"),
            **self.bank.diagnostics(),
        }
