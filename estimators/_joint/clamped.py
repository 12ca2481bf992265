"""Open loop under given actions: windows whose action block is held where the actions are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from estimators._joint.rollout import SAMPLER, Live, WindowSimulator
from estimators._world.bank import as_generator
from estimators._world.world import Answer, Start


class ClampedWindows(WindowSimulator):
    """Samples observations, rewards and endings given actions, by replacement (as in image inpainting: Lugmayr et al.
    2022, arXiv 2201.09865, without its resampling): at every noise level the known part of the action block is set to
    the known action at that noise level, and what is denoised of it to the action itself. No policy has a part in it.

    With `ahead` = 1 a window sees the present action alone, is cut after its first transition and begun anew: the model
    is told what a one-step model is told. With `ahead` = W it generates as in `play`, but the later actions of the
    window tell it something of the observations that an agent had chosen them after.
    """

    @torch.no_grad()
    def follow(
        self, starts: Sequence[Start], actions: Sequence[Sequence[str]], ahead: int, rng: np.random.Generator
    ) -> list[list[Answer]]:
        """One episode per start, along its actions until these or the episode end.

        Args:
            actions: of each episode. ahead: actions a window is told, at most W.

        Returns:
            For each episode the answers to its actions; fewer where it ended early.
        """
        self.generator = as_generator(rng)
        live, answers, t = self._begin(starts), [[] for _ in starts], 0
        while (live := _unfinished(live, actions, answers, t)).rows:
            told = [actions[row][t : t + ahead] for row in live.rows]
            window, row_of = self.sample_given(live, told), {row: k for k, row in enumerate(live.rows)}
            for j in range(ahead):
                live = _unfinished(live, actions, answers, t + j)
                if not live.rows:
                    break
                now = window[[row_of[row] for row in live.rows], j]
                self.append(live, now, [actions[row][t + j] for row in live.rows], self.bank)
                rewards, over = self.units.reward(now).tolist(), self.units.ended(now).tolist()
                for row, shown, reward, ended in zip(live.rows, live.shown, rewards, over, strict=True):
                    answers[row].append(Answer(shown, reward, ended))
            t += ahead
        return answers

    @torch.no_grad()
    def sample_given(self, live: Live, told: Sequence[Sequence[str]]) -> Tensor:
        """(B, W, D) windows after live episodes whose first actions are those told, at least one each."""
        count, goals = len(live.rows), [s.goal for s in live.starts]
        held = torch.zeros(count, self.length, self.units.actions)
        given = torch.zeros(count, self.length, 1, dtype=torch.bool)
        for k, texts in enumerate(told):
            held[k, : len(texts)] = self.units.action(self.reader.actions([(goals[k], text) for text in texts]))
            given[k, : len(texts)] = True
        start = torch.cat([self.past(live), live.seen[:, -1]], dim=-1)
        looked, real = torch.zeros(count, dtype=torch.bool), torch.ones(count, self.length, dtype=torch.bool)
        noise = torch.randn(count, self.length, self.units.size, generator=self.generator)
        drawn = self.units.blocks(noise)[0]

        def put(x: Tensor, actions: Tensor) -> Tensor:
            free = self.units.blocks(x)
            return torch.cat([torch.where(given, actions, free[0]), *free[1:]], dim=-1)

        def denoise(x: Tensor, sigma: float) -> Tensor:
            level = torch.full((count,), sigma)
            return put(self.denoiser(put(x, held + sigma * drawn), level, start, looked, real), held)

        return SAMPLER.sample(denoise, noise)


def _unfinished(live: Live, actions: Sequence[Sequence[str]], answers: Sequence[Sequence[Answer]], t: int) -> Live:
    """The episodes that have a t-th action and have not ended."""
    going = [
        k for k, row in enumerate(live.rows) if t < len(actions[row]) and not (answers[row] and answers[row][-1].ended)
    ]
    return live.keep(going)
