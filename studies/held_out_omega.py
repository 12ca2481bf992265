"""Which omega do held-out transitions prefer? And do they say why another one estimates values better?

    python -m studies.held_out_omega --tasks alfworld scienceworld

No agent and no true value has a part in this. A world model is fitted to a block of the log; at every logged step of
episodes outside it (same task instances), next latents are generated from the real past and the real action with
several omega, eta = 0, from the same noise, and scored against what really followed:

- energy score of the generated latents (Gneiting & Raftery 2007, Eq. 22 with beta = 1, the unbiased estimate from
  DRAWS latents): proper, so that a sharper distribution is not rewarded for being sharp
- logarithmic loss of the ending and squared error of the expected reward that the heads foretell after generated
  latents (mean over the draws; the heads of agents that read soft tokens), and the sum of all expected rewards beside
  what was really paid

Differences to omega = 1 come with 95 % intervals over episodes; the training is one.
Written after every log: a run that was stopped goes on where it was; `--again` begins these logs anew.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.data import Trajectory
from bench.registry import make_estimator
from bench.registry import task as task_named
from bench.rng import rng_for
from bench.tables import DASH, number, table
from estimators._world.bank import as_generator
from estimators._world.diffusion_world import DiffusionWorld, Guidance
from estimators._world.latent_world import Transition
from estimators._world.layers import unit
from estimators._world.reader import LatentReader
from studies._by_log import Entries, redrawn, study_logs
from studies._heads import LoggedSteps, logged_steps
from studies._worlds import held_out
from studies.answers import RESULTS, start

NAME = "held_out_omega"
SPEC = "adwm[eta=0.0,omega=1.0]"
OMEGAS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
DRAWS = 4
"""Generated latents per step."""
LOSSES = {"energy": "energy score", "ending": "ending, log loss", "reward": "reward, squared error"}
CERTAIN = 1e-4
"""Probabilities of an ending are kept this far from 0 and 1, so that no single step decides a mean."""


@dataclass(frozen=True)
class Scored:
    """(S,) losses of one omega at S steps by the keys of `LOSSES`, and the expected rewards."""

    losses: dict[str, np.ndarray]
    paid: np.ndarray


def energy_score(draws: Tensor, real: Tensor) -> Tensor:
    """(S,) unbiased energy scores of (M, S, d) draws, M > 1, against (S, d) outcomes; smaller is better."""
    far = (draws - real).norm(dim=-1).mean(dim=0)
    m = len(draws)
    apart = sum((draws[i] - draws[j]).norm(dim=-1) for i in range(m) for j in range(i)) / (m * (m - 1) / 2)
    return far - apart / 2


@torch.no_grad()
def score_steps(world: DiffusionWorld, steps: Sequence[LoggedSteps], rng: np.random.Generator) -> Scored:
    """What a world with this guidance makes of logged steps, episode by episode."""
    model, generator = world.model, as_generator(rng)
    found: dict[str, list[Tensor]] = {name: [] for name in (*LOSSES, "paid")}
    for s in steps:
        now = Transition(model, s.live, s.done, s.action)
        draws = torch.stack([unit(world.draw(now, generator)) for _ in range(DRAWS)])
        said = [model.events(s.z, s.action, after, s.live.past, s.done) for after in draws]
        paid = torch.stack([model.expected_reward(reward) for reward, _ in said]).mean(dim=0)
        ending = torch.stack([end.sigmoid() for _, end in said]).mean(dim=0).clamp(CERTAIN, 1 - CERTAIN)
        found["energy"].append(energy_score(draws, s.after))
        found["ending"].append(-torch.where(s.ended, ending, 1 - ending).log())
        found["reward"].append((paid - s.reward) ** 2)
        found["paid"].append(paid)
    arrays = {name: torch.cat(parts).double().numpy() for name, parts in found.items()}
    paid = arrays.pop("paid")
    return Scored(arrays, paid)


def study_board(task: str, log: str, n: int, seed: int, episodes: int) -> dict[str, Any]:
    """Everything about one log."""
    data = task_named(task).log(log)
    block, outside = data.subset(n, seed), held_out(data, n, seed, episodes)
    estimator = make_estimator(SPEC)
    estimator.fit(block, rng_for("fit", task, SPEC, seed))
    fit = estimator.soft_fit()
    reader = LatentReader(fit.model, fit.material)
    steps = [logged_steps(reader, t) for t in outside]
    scored = {}
    for omega in tqdm(OMEGAS, desc=task, leave=False):
        guidance = Guidance(omega, 0.0)
        world = DiffusionWorld(fit, estimator.fitted_data(), guidance, estimator.sampler_steps, None)
        scored[omega] = score_steps(world, steps, rng_for(NAME, task, log, n, seed))  # the same noise for every omega
    real = np.concatenate([t.rewards for t in outside])
    return {
        "steps": len(real),
        "paid": float(real.sum()),
        "gain": fit.facts["gain"],
        "omegas": [
            {"omega": omega, "paid": float(scored[omega].paid.sum())} | _losses(scored, omega, outside, seed)
            for omega in OMEGAS
        ],
    }


def _losses(
    scored: Mapping[float, Scored], omega: float, episodes: Sequence[Trajectory], seed: int
) -> dict[str, dict[str, float]]:
    """Means, and what they are more than those of omega = 1, with intervals over episodes."""
    counts, first = redrawn(NAME, episodes, seed)
    steps = counts @ np.array(list(map(len, episodes)))
    found = {}
    for name in LOSSES:
        values = scored[omega].losses[name]
        more = values - scored[1.0].losses[name]
        draws = counts @ np.add.reduceat(more, first) / steps
        low, high = np.quantile(draws, [0.025, 0.975])
        found[name] = {
            "mean": float(values.mean()),
            "more": float(more.mean()),
            "low": float(low),
            "high": float(high),
        }
    return found


def as_markdown(boards: Entries) -> str:
    """One row per log and omega; the mean at omega = 1, everywhere else what it is more."""
    rows = []
    for board, found in boards.items():
        for row in found["omegas"]:
            losses = [_cell(row[name], row["omega"] == 1) for name in LOSSES]
            share = number(row["paid"] / found["paid"]) if found["paid"] else DASH
            rows.append([board, f"{row['omega']:g}", *losses, share])
    blocks = "; ".join(
        f"{board}: block {found['seed']} of {found['n']:,}, {found['episodes']} episodes outside it, "
        f"{found['steps']:,} steps"
        for board, found in boards.items()
    )
    header = ["log", "omega", *LOSSES.values(), "expected reward / paid"]
    return "\n\n".join(
        [
            "Means at omega = 1, elsewhere the difference to it [95 % over episodes]; below 0 is better. The last "
            "column would be 1 for heads that pay as much as was paid.",
            table(header, rows),
            f"{blocks}.",
        ]
    )


def _cell(found: Mapping[str, float], reference: bool) -> str:
    if reference:
        return number(found["mean"])
    return f"{number(found['more'], sign=True)} [{number(found['low'], sign=True)}, {number(found['high'], sign=True)}]"


def main(
    tasks: Sequence[str] = ("alfworld", "hotpotqa", "scienceworld", "webarena"),
    log: str = "pooled",
    n: int = 1000,
    seed: int = 1,
    episodes: int = 100,
    results: Path = RESULTS,
    again: bool = False,
) -> None:
    """Which omega do held-out transitions prefer?

    Args:
        tasks: which tasks.
        log: whose episodes. n, seed: the block that the world model is fitted to.
        n: episodes in the block.
        seed: which block.
        episodes: outside the block, to be scored.
        results: folder of the results; writes studies/held_out_omega.json.
        again: begin these logs anew.
    """
    torch.set_num_threads(1)
    settings = {"log": log, "n": n, "seed": seed, "episodes": episodes}
    print(study_logs(NAME, SPEC, tasks, settings, study_board, as_markdown, results, again))


if __name__ == "__main__":
    sys.exit(start(main))
