"""Simulated steps per second, agent included: the world model against the live ScienceWorld; and what guidance costs.

    python benchmarks/rollout_speed.py [--policy NAME] [--live-episodes N] [--rollouts N]

All on one thread and on the same agent, in one run: 100 simulated episodes with text (omega 1, eta 0), with soft tokens
(eta 0) and guided (eta 0.3), and live episodes through raw simulator calls, one simulator, without remembering what was
asked before. Training is not counted; a fit is taken from the cache or made first. Exit code 1 if the world model is
slower than the live environment, or guidance costs more than 4 times as much as soft tokens without it.

The live part needs the extra `live`.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from bench.registry import make_estimator, task
from bench.rollout import EpisodeJob, play

LIVE, GUIDED = 1.0, 4.0
SPECS = {"text": "adwm[eta=0.0,omega=1.0,reads=text]", "soft": "adwm[eta=0.0,omega=1.0]", "guided": "adwm"}


def simulated(spec: str, policy, data, rollouts: int) -> float:
    """Steps per second of simulated episodes, the faster of two runs."""
    estimator = make_estimator(spec)
    estimator.rollouts = rollouts
    estimator.fit(data, np.random.default_rng(0))
    estimator.world(policy)  # distills the adapter, if one is needed
    rates = []
    for seed in range(2):
        begun = time.perf_counter()
        played = estimator.simulate(policy, np.random.default_rng(seed))
        rates.append(played.lengths.sum() / (time.perf_counter() - begun))
    return max(rates)


def live(policy, episodes: int) -> float:
    """Steps per second in the live simulator, the faster of two runs: episodes one after the other, the agent's cache
    kept within each."""
    from tasks.scienceworld.recipe import RECIPE

    environment = RECIPE.environment()
    with ThreadPoolExecutor(1) as threads:
        jobs = [EpisodeJob(str(k), RECIPE.instances[k % len(RECIPE.instances)], k) for k in range(2 * episodes + 5)]
        for job in jobs[:5]:  # the Java runtime compiles what it runs often
            play(policy, [environment], [job], RECIPE.step_limit, threads)
        rates = []
        for part in (jobs[5 : 5 + episodes], jobs[5 + episodes :]):
            begun = time.perf_counter()
            steps = sum(len(play(policy, [environment], [job], RECIPE.step_limit, threads)[0]) for job in part)
            rates.append(steps / (time.perf_counter() - begun))
    environment.close()
    return max(rates)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--policy", default="a-100")
    parser.add_argument("--live-episodes", type=int, default=50)
    parser.add_argument("--rollouts", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    world = task("scienceworld")
    policy, data = world.policy(args.policy), world.log("pooled").subset(300, 0)
    rates = {name: simulated(spec, policy, data, args.rollouts) for name, spec in SPECS.items()}
    try:
        rates["live"] = live(policy.live, args.live_episodes)
    except ImportError as error:
        print(f"the live part is left out: {error}. It needs the extra [live].")
    for name, rate in rates.items():
        print(f"{name:>7}: {rate:8.0f} steps per second")
    guided = rates["soft"] / rates["guided"]
    print(f"guidance costs {guided:.1f} x soft tokens without it (at most {GUIDED:g})")
    ok = guided <= GUIDED
    if "live" in rates:
        ratio = rates["text"] / rates["live"]
        print(f"text world model: {ratio:.1f} x the live environment (at least {LIVE:g})")
        ok = ok and ratio >= LIVE
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
