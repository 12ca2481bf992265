"""Importance weights of ragged episodes, in log space: the one carry-forward that every weighted estimator uses.

After an episode has ended its ratio is 1, its reward 0 and its Q 0, so that its cumulative weight is carried forward to
the last turn of the log and every sum over episodes runs over all of them (Thomas & Brunskill 2016, section 2: the
absorbing state). Normalizing over the episodes still alive instead is the commonest mistake in public code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from bench.data import Columns, LoggedDataset
from bench.errors import DataError, UnsupportedError
from bench.policy import Policy

LARGEST_LOG_WEIGHT = 300.0
"""Above it the square of a weight may leave the range of floating-point numbers, and plain averages are refused."""


@dataclass(frozen=True)
class WeightedEpisodes:
    """n episodes over L turns, L the longest episode of the log.

    Attributes:
        log_weight: (n, L) log of the product of the ratios up to and including turn t, carried forward.
        rewards: (n, L) discounted rewards gamma^t r_t, 0 after the end.
        lengths: (n,) turns of each episode.
        instance: (n,) int.
    """

    log_weight: np.ndarray
    rewards: np.ndarray
    lengths: np.ndarray
    instance: np.ndarray

    @property
    def returns(self) -> np.ndarray:
        """(n,) discounted returns."""
        return self.rewards.sum(axis=1)

    @property
    def final_log_weight(self) -> np.ndarray:
        """(n,) log weight of the whole episode."""
        return self.log_weight[:, -1]

    @property
    def previous_log_weight(self) -> np.ndarray:
        """(n, L) log weight before turn t: w_{t-1}, with w_{-1} = 1."""
        return np.hstack([np.zeros((len(self.log_weight), 1)), self.log_weight[:, :-1]])


def pad(columns: Columns, steps: np.ndarray) -> np.ndarray:
    """(S,) or (S, K) values of steps -> (n, L) or (n, L, K), 0 after the end of an episode."""
    padded = np.zeros((len(columns.lengths), int(columns.lengths.max()), *steps.shape[1:]))
    padded[columns.episode, columns.turn] = steps
    return padded


def weigh_columns(columns: Columns, gamma: float, target_logp: np.ndarray) -> WeightedEpisodes:
    """Weights against the policy that generated each episode: (S,) target log-probabilities -> weighted episodes."""
    log_weight = np.cumsum(pad(columns, target_logp - columns.behavior_logp), axis=1)
    return _episodes(columns, gamma, log_weight)


def weigh_against_mixture(
    columns: Columns, gamma: float, target_logp: np.ndarray, logger_logps: np.ndarray
) -> WeightedEpisodes:
    """Balance-heuristic weights: the denominator is the mixture of all loggers over the whole prefix.

    Veach & Guibas 1995 (deterministic mixture), as in Agarwal et al. 2017, "Effective evaluation using logged bandit
    feedback from multiple loggers", eq. 5, with prefixes of episodes in the place of actions.

    Args:
        target_logp: (S,).
        logger_logps: (S, K) log-probability of each logged action under each of the K loggers.
    """
    shares = np.bincount(columns.logger, minlength=logger_logps.shape[1]) / len(columns.lengths)
    present = shares > 0
    prefixes = np.cumsum(pad(columns, logger_logps[:, present]), axis=1)  # (n, L, K)
    mixture = logsumexp(prefixes, axis=2, b=shares[present])
    return _episodes(columns, gamma, np.cumsum(pad(columns, target_logp), axis=1) - mixture)


def _episodes(columns: Columns, gamma: float, log_weight: np.ndarray) -> WeightedEpisodes:
    if np.isneginf(log_weight[:, -1]).all():
        raise UnsupportedError(
            "zero overlap: every logged episode holds an action that the policy never takes, so all importance weights "
            "are 0. Use an estimator that needs no overlap, or a log closer to the policy."
        )
    rewards = pad(columns, columns.rewards * gamma**columns.turn)
    return WeightedEpisodes(log_weight, rewards, columns.lengths, columns.instance)


def target_log_probs(policy: Policy, data: LoggedDataset) -> np.ndarray:
    """(S,) log-probability of every logged action under the policy; -inf where it never takes the action.

    Raises:
        DataError: the policy answers with the wrong number of values.
        UnsupportedError: a value is not a log-probability.
    """
    parts = policy.log_prob_episodes(data.trajectories)
    if [len(p) for p in parts] != [len(t) for t in data.trajectories]:
        raise DataError(
            f"policy {policy.name!r}: log_prob_episodes must return one array per episode with one value per step; "
            "the numbers of values differ from the log's."
        )
    values = np.concatenate(parts).astype(float)
    wrong = ~(values <= 1e-6)  # NaN compares false
    if wrong.any():
        step = int(np.flatnonzero(wrong)[0])
        episode = data.trajectories[data.columns.episode[step]].id
        raise UnsupportedError(
            f"policy {policy.name!r}: log-probability {values[step]} of turn {data.columns.turn[step]} in episode "
            f"{episode!r} is not the natural log of a probability."
        )
    return values


def weigh(data: LoggedDataset, policy: Policy, balanced: bool = False) -> WeightedEpisodes:
    """Weights of a log under a policy; asks the policy for its log-probabilities once.

    Raises:
        UnsupportedError: zero overlap, or the policy's log-probabilities cannot be used.
    """
    target = target_log_probs(policy, data)
    if not balanced:
        return weigh_columns(data.columns, data.gamma, target)
    logger_logps = np.array([step.logger_logps for t in data.trajectories for step in t.steps], dtype=float)
    return weigh_against_mixture(data.columns, data.gamma, target, logger_logps)


def lacks_logger_logps(data: LoggedDataset) -> str | None:
    """Why the balance heuristic cannot be used on a log, or None."""
    count = len(data.loggers)
    if all(s.logger_logps is not None and len(s.logger_logps) == count for t in data.trajectories for s in t.steps):
        return None
    return "the log does not know the log-probability of every action under every logger, which balanced weights need"


def linear(log_weight: np.ndarray) -> np.ndarray:
    """Weights themselves, for averages that are not self-normalized.

    Raises:
        UnsupportedError: a weight is too large to be represented.
    """
    largest = log_weight.max()
    if largest > LARGEST_LOG_WEIGHT:
        raise UnsupportedError(
            f"the largest importance weight is e^{largest:.0f}, beyond the range of floating-point numbers; "
            "use a self-normalized or clipped variant."
        )
    return np.exp(log_weight)


def normalized_means(log_weight: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Self-normalized means per turn, sum_i c_i w_it x_it / sum_i c_i w_it.

    Each column is shifted by its own maximum. A resample may miss every unit whose weight is not negligible beside
    that maximum; its shifted weights all vanish, and it is computed again with a shift of its own.

    Args:
        log_weight: (n, L).
        values: (n, L) x.
        counts: (B, n).

    Returns:
        (B, L); NaN where all units in a resample have weight 0, which never happens with counts of 1 (`weigh` refuses).
    """
    top = log_weight.max(axis=0)
    weight = np.exp(log_weight - np.where(np.isfinite(top), top, 0.0))
    total = counts @ weight  # (B, L)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (counts @ (weight * values)) / total
    lost = total < 1e-280
    for column in np.flatnonzero(lost.any(axis=0)):
        rows = np.flatnonzero(lost[:, column])
        means[rows, column] = _own_shift(log_weight[:, column], values[:, column], counts[rows])
    return means


def _own_shift(log_weight: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n,), (n,), (R, n) -> (R,) self-normalized means, each resample shifted by its own largest weight."""
    drawn = np.where(counts > 0, log_weight, -np.inf)  # (R, n)
    top = drawn.max(axis=1, keepdims=True)
    weight = counts * np.exp(drawn - np.where(np.isfinite(top), top, 0.0))
    with np.errstate(invalid="ignore"):
        return (weight @ values) / weight.sum(axis=1)


def sum_of_normalized_means(terms: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Combine for WIS (one column) and CWPDIS (one per turn): terms (n, 2L) = log weights | values -> (B,)."""
    log_weight, values = np.split(terms, 2, axis=1)
    return normalized_means(log_weight, values, counts).sum(axis=1)


def effective_sample_size(log_weight: np.ndarray) -> np.ndarray:
    """Kish's (sum w)^2 / sum w^2 of each column: (n, L) -> (L,); 0 where all weights are 0."""
    top = log_weight.max(axis=0)
    weight = np.exp(log_weight - np.where(np.isfinite(top), top, 0.0))
    square = (weight**2).sum(axis=0)
    return np.divide(weight.sum(axis=0) ** 2, square, out=np.zeros_like(square), where=square > 0)


def weight_diagnostics(episodes: WeightedEpisodes) -> dict[str, float]:
    """How well the log covers the policy.

    Keys: `ess` of whole episodes and `ess_turn_t` after turn 1, 2, 4, 8, ... (counted from 1); `max_weight_share` of
    the heaviest episode; `mean_weight` (1 in expectation; NaN where it cannot be represented); `zero_weight_share`;
    `min_log_weight` among weights above 0 and `max_log_weight`; `first_divergence_turn`, the median over episodes of
    the first turn (counted from 1) at which the cumulative ratio is below .01 (NaN where half of them never get there).
    """
    final = episodes.final_log_weight
    ess = effective_sample_size(episodes.log_weight)
    finite = final[np.isfinite(final)]
    mean = logsumexp(final) - np.log(len(final))
    below = episodes.log_weight < np.log(0.01)
    first = np.where(below.any(axis=1), below.argmax(axis=1) + 1.0, np.inf)
    median = float(np.median(first))
    turns = [2**k for k in range(20) if 2**k < len(ess)]
    return {
        "ess": float(ess[-1]),
        "max_weight_share": float(np.exp(final.max() - logsumexp(final))),
        "mean_weight": float(np.exp(mean)) if mean < LARGEST_LOG_WEIGHT else np.nan,
        "zero_weight_share": float(np.isneginf(final).mean()),
        "min_log_weight": float(finite.min()),
        "max_log_weight": float(finite.max()),
        "first_divergence_turn": median if np.isfinite(median) else np.nan,
        **{f"ess_turn_{t}": float(ess[t - 1]) for t in turns},
    }
