"""The continuation factor: the gradient of the agent's log-probability of its next action, with respect to a latent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.agents.white_box import Lookahead
from bench.data import LoggedDataset
from estimators._world.adapter import Adapter
from estimators._world.latent_world import Transition

GUIDED_ABOVE = 0.3
"""Noise level above which it ends: what it moves is sigma^2 eta_k times a gradient of length at most 1, with eta = 0.3
less than a hundredth of a latent axis below this level, and each level costs two passes through the agent."""
LARGEST = 1.0
"""Longer gradients are cut to this length; latents have length 8 (64 axes of unit scale)."""


class Continuation:
    """d log pi_e(a' | history, G_psi(z)) / dz for the next action a' of every live episode.

    a' is drawn from the agent at the first expected clean latent that is looked at, and held fixed while the noise
    falls: drawn anew each time, the gradient would be zero on average (sum_a pi grad log pi = grad 1). At every noise
    level the gradient is taken once, where the sampler predicts that it will come to; the Heun step from there on
    reuses it.

    Args:
        now: the transition that is being generated.
        ahead: the agent's next turn, open for trying.
        below: noise level under which guidance begins.
        behavior: scale of the subtracted gradient of the behavior-cloning head for the same action.
        logged_actions: B texts, one tried in each live episode, to (1 + K, action) vectors of it and of the other
            actions logged in the instance.
    """

    def __init__(
        self,
        now: Transition,
        ahead: Lookahead,
        adapter: Adapter,
        below: float,
        behavior: float,
        logged_actions: Callable[[Sequence[str]], Sequence[Tensor]],
    ):
        self.now, self.ahead, self.adapter, self.below, self.behavior = now, ahead, adapter, below, behavior
        self.logged_actions = logged_actions
        self.actions: list[tuple[int, ...]] | None = None
        self._known: dict[float, Tensor] = {}

    def active(self, sigma: float) -> bool:
        """Whether this noise level is guided."""
        return GUIDED_ABOVE < sigma < self.below

    def gradient(self, clean: Tensor, sigma: float) -> Tensor:
        """(B, d), each row at most `LARGEST` long."""
        if sigma not in self._known:
            if self.actions is None:
                self.actions = self.ahead.propose(self.adapter(clean))
            with torch.enable_grad():
                z = clean.detach().requires_grad_()
                value = self.ahead.log_prob(self.adapter(z), self.actions).sum()
                if self.behavior:
                    value = value - self.behavior * self._logged(z, self.ahead.texts(self.actions)).sum()
                (found,) = torch.autograd.grad(value, z)
            length = found.norm(dim=-1, keepdim=True)
            self._known[sigma] = found * (LARGEST / length.clamp(min=LARGEST))
        return self._known[sigma]

    def _logged(self, z: Tensor, texts: Sequence[str]) -> Tensor:
        """(B,) log-probability of the same actions under the log's behavior, among those logged in the instance."""
        model, live = self.now.model, self.now.live
        wanted = model.behavior(model.advance(z, live.goal, live.column + 1, live.caches.copy()))
        vectors = self.logged_actions(texts)
        return torch.stack([(v @ x).log_softmax(dim=0)[0] for v, x in zip(vectors, wanted, strict=True)])


class Pools:
    """The distinct actions logged in each instance, those of all instances for one that the log does not hold."""

    def __init__(self, data: LoggedDataset):
        self._of: dict[str, dict[str, None]] = {}
        for t in data.trajectories:
            self._of.setdefault(t.instance, {}).update(dict.fromkeys(s.action for s in t.steps))
        self._all = dict.fromkeys(text for pool in self._of.values() for text in pool)

    def with_first(self, instance: str, text: str) -> list[str]:
        """The actions of an instance after the one given, which need not be among them."""
        return list(dict.fromkeys([text, *self._of.get(instance, self._all)]))
