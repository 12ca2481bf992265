"""Policy guidance of generated actions: a softmax over candidates makes a text policy differentiable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.agents.choices import ChoiceScorer
from bench.policy import Context, Policy
from estimators._joint.candidates import Shortlist


@dataclass(frozen=True)
class GuidanceScales:
    """How strongly the policy pulls.

    Attributes:
        policy: alpha, of the gradient of log pi_e. behavior: lambda, of that of log pi_b; 0 is the PGD form.
        tau: temperature of the candidate softmax, in squared standardized distances.
    """

    policy: float
    behavior: float
    tau: float


def candidate_gradient(action: Tensor, candidates: Tensor, known: Tensor, log_prob: Tensor, tau: float) -> Tensor:
    """Gradient of log sum_v softmax_v(-|a - e_v|^2 / tau) pi(v) with respect to a.

    With w the softmax and q_v proportional to w_v pi(v) it is 2 / tau sum_v (q_v - w_v) e_v: from where the action is
    among the candidates towards where the policy would have it.

    Args:
        action: (..., d). candidates: (..., K, d). known: (..., K) bool, the others do not count.
        log_prob: (..., K) log pi(v); -inf is allowed.

    Returns:
        (..., d); zero where no candidate is known or the policy takes none of them.
    """
    closeness = -((action[..., None, :] - candidates) ** 2).sum(dim=-1) / tau
    closeness = closeness.masked_fill(~known, -torch.inf)
    pull = (closeness + log_prob).softmax(dim=-1) - closeness.softmax(dim=-1)
    pull = torch.where(pull.isnan().any(dim=-1, keepdim=True), 0.0, pull)
    return 2 / tau * (pull[..., None] * candidates).sum(dim=-2)


class Scores:
    """What the policy and the behavior model say of the candidates at each of W positions of B windows."""

    def __init__(self, windows: int, length: int, most: int, actions: int):
        self.candidates = torch.zeros(windows, length, most, actions)
        self.known = torch.zeros(windows, length, most, dtype=torch.bool)
        self.log_policy = torch.zeros(windows, length, most)
        self.log_behavior = torch.zeros(windows, length, most)

    def put(self, places: Sequence[tuple[int, int]], shortlist: Shortlist, log_policy: Tensor) -> None:
        """Enters N (window, position) places."""
        window, position = torch.tensor(places).T
        self.candidates[window, position], self.known[window, position] = shortlist.rows, shortlist.known
        self.log_policy[window, position], self.log_behavior[window, position] = log_policy, shortlist.log_behavior

    def gradient(self, action: Tensor, scales: GuidanceScales) -> Tensor:
        """(B, W, actions) of alpha log pi_e - lambda log pi_b with respect to expected clean actions."""
        found = scales.policy * candidate_gradient(action, self.candidates, self.known, self.log_policy, scales.tau)
        if scales.behavior > 0:
            logged = candidate_gradient(action, self.candidates, self.known, self.log_behavior, scales.tau)
            found = found - scales.behavior * logged
        return found


class Judge:
    """Asks the policy for log-probabilities, each (context, action) once, and counts."""

    def __init__(self, policy: Policy):
        self._scorer = ChoiceScorer(policy)
        self._known: dict[tuple[Context, str], float] = {}
        self.contexts, self.mass = 0, 0.0

    @property
    def calls(self) -> int:
        """Number of actions scored."""
        return len(self._known)

    def log_probs(self, contexts: Sequence[Context], texts: Sequence[Sequence[str | None]]) -> Tensor:
        """(N, K) exact log-probabilities of K actions in each of N contexts; -inf for None."""
        new: dict[Context, dict[str, None]] = {}
        for context, row in zip(contexts, texts, strict=True):
            for text in row:
                if text is not None and (context, text) not in self._known:
                    new.setdefault(context, {})[text] = None
        if new:
            choices = [list(wanted) for wanted in new.values()]
            scored = self._scorer.log_probs(list(new), choices)
            for context, wanted, found in zip(new, choices, scored, strict=True):
                self._known |= {(context, text): x for text, x in zip(wanted, found.tolist(), strict=True)}
        rows = [
            [-math.inf if a is None else self._known[c, a] for a in row] for c, row in zip(contexts, texts, strict=True)
        ]
        self.contexts += len(rows)
        self.mass += float(np.exp(np.array(rows)).sum())
        return torch.tensor(rows)
