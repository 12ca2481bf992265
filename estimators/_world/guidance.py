"""The continuation factor: the gradient of the agent's log-probability of its next action, with respect to a latent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.agents.white_box import Lookahead
from estimators._world.adapter import Adapter
from estimators._world.latent_world import Transition

ACTIVE_BELOW = 1.0
"""Noise level under which guidance begins: above it the expected clean latent is an average of many observations."""
ACTIVE_ABOVE = 0.3
"""Noise level above which it ends: what it moves is sigma^2 eta_k times a gradient of length at most 1, which below
this level is less than a hundredth of a latent axis, and each level costs two passes through the agent."""
LARGEST = 1.0
"""Longer gradients are cut to this length; latents have length 8 (64 axes of unit scale)."""


class Continuation:
    """d log pi_e(a' | history, G_psi(z)) / dz for the next action a' of every live episode.

    a' is drawn from the agent at the first expected clean latent that is looked at, and held fixed while the noise
    falls:
    drawn anew each time, the gradient would be zero on average (sum_a pi grad log pi = grad 1). At every noise level
    the gradient is taken once; the second call of a Heun step reuses it.

    Args:
        now: the transition that is being generated.
        ahead: the agent's next turn, open for trying.
        behavior: scale of the subtracted gradient of the behavior-cloning head for the same action.
        read_actions: B texts to (B, action) vectors of the live episodes' actions.
    """

    def __init__(
        self,
        now: Transition,
        ahead: Lookahead,
        adapter: Adapter,
        behavior: float,
        read_actions: Callable[[Sequence[str]], Tensor],
    ):
        self.now, self.ahead, self.adapter, self.behavior = now, ahead, adapter, behavior
        self.read_actions = read_actions
        self.actions: list[tuple[int, ...]] | None = None
        self._known: dict[float, Tensor] = {}

    def active(self, sigma: float) -> bool:
        """Whether this noise level is guided."""
        return ACTIVE_ABOVE < sigma < ACTIVE_BELOW

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
        """(B,) log-probability of the same actions under the log's behavior, among those tried in this batch."""
        model, live = self.now.model, self.now.live
        past = model.advance(z, live.goal, live.column + 1, live.caches.copy())
        return (model.behavior(past) @ self.read_actions(texts).T).log_softmax(dim=-1).diagonal()
