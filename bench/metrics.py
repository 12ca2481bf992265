"""How good are estimates, given the true values: every metric of the leaderboard, and nothing about stored cells.

All functions take policies on the last axis and broadcast over the others, so one call scores a table or a thousand
bootstrap resamples of it. NaN among the estimates marks a policy without an estimate; NaN among the truths takes the
policy out of the pool.
"""

from __future__ import annotations

import numpy as np
from scipy.special import comb
from scipy.stats import norm

ERROR_METRICS = ("mae", "rmse", "bias")
RANKING_METRICS = ("spearman", "kendall", "regret@1", "regret@3", "scope_regret@3", "pairwise_accuracy")
SMALLEST_RANKING = 3  # two policies give a correlation of -1 or 1 whatever happens


def errors(estimates: np.ndarray, truths: np.ndarray) -> dict[str, np.ndarray]:
    """Mean absolute error, root mean squared error and signed bias over the policies that have an estimate.

    Args:
        estimates: (..., P) in units of the return.
        truths: (..., P) in the same units.

    Returns:
        One (...) array for each of `ERROR_METRICS`; NaN where no policy has an estimate.
    """
    difference = np.asarray(estimates, dtype=float) - truths
    valid = ~np.isnan(difference)
    count = valid.sum(axis=-1)
    signed = np.where(valid, difference, 0.0)
    with np.errstate(invalid="ignore"):
        return {
            "mae": np.abs(signed).sum(axis=-1) / count,
            "rmse": np.sqrt((signed**2).sum(axis=-1) / count),
            "bias": signed.sum(axis=-1) / count,
        }


def signs(values: np.ndarray) -> np.ndarray:
    """(..., P, P) sign of value_i - value_j; 0 where they tie (to 12 decimals) or one is NaN."""
    rounded = np.round(np.asarray(values, dtype=float), 12)
    sign = np.sign(rounded[..., :, None] - rounded[..., None, :])
    sign[np.isnan(sign)] = 0.0
    return sign


def rank_correlations(estimates: np.ndarray, truths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spearman's rho with average ranks and Kendall's tau-b, over policies with an estimate.

    Both follow from the signs of pairwise differences: half their row sums are the average ranks minus the mean rank.

    Returns:
        Two (...) arrays; NaN where either side is constant (public code gives -1 there) or fewer than three policies
        have an estimate.
    """
    valid = ~np.isnan(estimates) & ~np.isnan(truths)
    both = valid[..., :, None] & valid[..., None, :]
    x, y = signs(estimates) * both, signs(truths) * both
    rank_x, rank_y = x.sum(axis=-1) / 2, y.sum(axis=-1) / 2
    rho = _ratio((rank_x * rank_y).sum(axis=-1), (rank_x**2).sum(axis=-1), (rank_y**2).sum(axis=-1))
    tau = _ratio((x * y).sum(axis=(-1, -2)), np.abs(x).sum(axis=(-1, -2)), np.abs(y).sum(axis=(-1, -2)))
    enough = valid.sum(axis=-1) >= SMALLEST_RANKING
    return np.where(enough, rho, np.nan), np.where(enough, tau, np.nan)


def _ratio(product: np.ndarray, square_x: np.ndarray, square_y: np.ndarray) -> np.ndarray:
    """A correlation from its sums; NaN where one side does not vary."""
    scale = np.sqrt(square_x * square_y)
    return np.where(scale > 0, product / np.where(scale > 0, scale, 1.0), np.nan)


def selection(estimates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Who is among the k best estimates: certain members, candidates tied for the last places, number of such places.

    Returns:
        (..., P) bool, (..., P) bool, (...) int. Policies without an estimate are never selected.
    """
    filled = np.where(np.isnan(estimates), -np.inf, np.round(estimates, 12))
    places = np.minimum(k, np.isfinite(filled).sum(axis=-1))
    ordered = -np.sort(-filled, axis=-1)
    boundary = np.take_along_axis(ordered, np.maximum(places - 1, 0)[..., None], axis=-1)
    certain = filled > boundary
    tied = (filled == boundary) & np.isfinite(filled)
    return certain, tied, places - certain.sum(axis=-1)


def regret(estimates: np.ndarray, truths: np.ndarray, k: int) -> np.ndarray:
    """Best true value minus the best true value among the k highest estimates, in units of the return.

    The regret of DOPE (Fu et al., 2021) before its division by the range, with the exact expectation over the random
    breaking of ties in place of the order in which a sort happens to leave them.

    Returns:
        (...) array; NaN where no policy has an estimate.
    """
    estimates, truths = np.broadcast_arrays(estimates, truths)
    in_pool = ~np.isnan(truths)
    estimates = np.where(in_pool, estimates, np.nan)
    values = np.where(in_pool, truths, -np.inf)
    certain, tied, places = selection(estimates, k)
    order = np.argsort(-values, axis=-1, kind="stable")  # the best first, so that "ahead" means earlier
    certain, tied, sorted_truths = (np.take_along_axis(x, order, axis=-1) for x in (certain, tied, truths))
    certain_ahead = np.cumsum(certain, axis=-1) - certain > 0
    tied_ahead = np.cumsum(tied, axis=-1) - tied
    n_tied, r = tied.sum(axis=-1)[..., None], places[..., None]
    ways = np.maximum(comb(n_tied, r), 1.0)
    # a policy is the best of the selection: it is in it, and nobody ahead of it is
    if_certain = comb(n_tied - tied_ahead, r) / ways
    if_tied = np.where(r > 0, comb(n_tied - tied_ahead - 1, np.maximum(r - 1, 0)), 0.0) / ways
    probability = np.where(certain, if_certain, np.where(tied, if_tied, 0.0)) * ~certain_ahead
    chosen = (probability * np.nan_to_num(sorted_truths)).sum(axis=-1)
    return np.where((~np.isnan(estimates)).any(axis=-1), values.max(axis=-1) - chosen, np.nan)


def scope_regret(estimates: np.ndarray, truths: np.ndarray, k: int) -> np.ndarray:
    """Sum of the k highest true values minus the sum over the k policies selected, in units of the return.

    What SCOPE-RL (Kiyohara et al., 2024) calls regret@k: not normalized, and not the regret of `regret`. Ties count in
    expectation. NaN where fewer than k policies have an estimate.
    """
    estimates, truths = np.broadcast_arrays(estimates, truths)
    estimates = np.where(np.isnan(truths), np.nan, estimates)
    certain, tied, places = selection(estimates, k)
    inclusion = certain + tied * (places / np.maximum(tied.sum(axis=-1), 1))[..., None]
    best = -np.sort(-np.where(np.isnan(truths), -np.inf, truths), axis=-1)[..., :k].sum(axis=-1)
    enough = (~np.isnan(estimates)).sum(axis=-1) >= k
    return np.where(enough, best - (inclusion * np.nan_to_num(truths)).sum(axis=-1), np.nan)


def pairwise_accuracy(estimates: np.ndarray, truths: np.ndarray, stderrs: np.ndarray) -> np.ndarray:
    """Share of pairs put in the right order, among pairs whose truths differ by more than two combined standard errors.

    A tie between estimates counts one half. NaN where no pair is separated.
    """
    difference = truths[..., :, None] - truths[..., None, :]
    variance = stderrs[..., :, None] ** 2 + stderrs[..., None, :] ** 2
    has = ~np.isnan(estimates)
    pair = (difference**2 > np.maximum(4 * variance, 1e-24)) & has[..., :, None] & has[..., None, :]
    agreement = np.where(pair, signs(estimates) * np.sign(difference), 0.0).sum(axis=(-1, -2))
    count = pair.sum(axis=(-1, -2))
    return np.where(count > 0, (1 + agreement / np.maximum(count, 1)) / 2, np.nan)


def ranking(estimates: np.ndarray, truths: np.ndarray, stderrs: np.ndarray, span: float) -> dict[str, np.ndarray]:
    """All ranking metrics.

    Args:
        estimates: (..., P), NaN without an estimate.
        truths: (..., P), NaN outside the pool.
        stderrs: (..., P) standard errors of the truths.
        span: range of the true values over the fixed pool, which normalizes regret.

    Returns:
        One (...) array for each of `RANKING_METRICS`.
    """
    rho, tau = rank_correlations(estimates, truths)
    scale = span if span > 0 else np.nan
    return {
        "spearman": rho,
        "kendall": tau,
        "regret@1": regret(estimates, truths, 1) / scale,
        "regret@3": regret(estimates, truths, 3) / scale,
        "scope_regret@3": scope_regret(estimates, truths, 3),
        "pairwise_accuracy": pairwise_accuracy(estimates, truths, stderrs),
    }


def interval_score(low: np.ndarray, high: np.ndarray, truths: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Width plus 2 / (1 - level) times the distance by which the truth is missed (Gneiting & Raftery, 2007, eq. 43)."""
    miss = np.maximum(low - truths, 0) + np.maximum(truths - high, 0)
    return (high - low) + 2 / (1 - level) * miss


def covers_noisy_truth(
    values: np.ndarray, low: np.ndarray, high: np.ndarray, truths: np.ndarray, stderrs: np.ndarray, level: float = 0.95
) -> np.ndarray:
    """|estimate - truth| <= sqrt(half-width^2 + (z stderr)^2): does the interval cover a truth that is measured.

    The half-width is the one on the side of the truth, since percentile intervals are not symmetric.
    """
    half_width = np.maximum(np.where(truths > values, high - values, values - low), 0.0)
    z = norm.ppf((1 + level) / 2)
    return np.abs(values - truths) <= np.sqrt(half_width**2 + (z * stderrs) ** 2) + 1e-12


def wilson_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson, 1927); (0, 1) when there is no trial."""
    if trials == 0:
        return 0.0, 1.0
    z = norm.ppf((1 + level) / 2)
    share = successes / trials
    center = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return float(max(center - half, 0.0)), float(min(center + half, 1.0))
