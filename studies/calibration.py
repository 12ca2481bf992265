"""Do world models keep their promises: endings, rewards, lengths, successes, and the same answer when asked again?

    python -m studies.calibration --tasks toy_chain scienceworld

Per model: the reward and termination heads at every step of held-out real episodes, each step from its real past,
after the real observation and after the one that the model generates there (`studies/_heads.py`): reliability bins,
Brier score, ECE. Guidance has no part in that (omega = 1, eta = 0); joint diffusion and retrieval say whether an
episode ends, not how likely that is.

Per model and target, in the episodes that the estimator really simulates:
- length and share of successes (return of at least `success` times the largest possible one) beside the on-policy
  episodes of the ground truth; the difference of the shares is the hallucinated success, with a 95 % interval.
  Whether one and the same action sequence would have failed in reality cannot be known without the environment, and
  is not claimed. All but retrieval and joint diffusion pay expected rewards: where such a model is unsure of a success,
  the return lies in between and counts as none, so that mean returns must be read beside the shares
- repeats: the same action again with nothing but itself and looks (look, inventory, examine, read) in between: share
  of answers that differ, beside the real log's, where an action may have changed something the first time
- actions that the log never answered in this instance, or at all; abstentions; fidelity of the soft-token adapter
  (agreement: share of held-out logged actions whose every token the agent would choose alike; KL: in nats per token)

Written after every target: a run that was stopped goes on where it was; `--again` begins these tasks anew.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.errors import BenchError
from bench.plots.style import save
from bench.policy import opened
from bench.registry import task as task_named
from bench.rng import rng_for
from bench.task import Task
from estimators._world.base import SimulationEstimator
from studies._calibration_figure import calibration_figure
from studies._calibration_tables import as_tables
from studies._episodes import Played, really_played, repeats, repeats_in, success_gap
from studies._heads import Heads, heads, observed
from studies._reliability import of_ending, of_reward
from studies._worlds import held_out, simulator
from studies.answers import (
    RESULTS,
    figure_folder,
    keep_answer,
    kept_answer,
    known,
    made_now,
    refuse_other_settings,
    start,
)

NAME = "calibration"
VERSION = 2
"""Of what is measured: bump when numbers change for other reasons than the models."""
MODELS = (
    "adwm",
    "adwm[eta=0.0,omega=1.0]",
    "adwm[eta=0.0,omega=1.0,reads=text]",
    "autoregressive_wm",
    "gaussian_wm",
    "joint_diffusion",
    "retrieval_wm",
)
KEPT_DIAGNOSTICS = (
    "action_new_to_instance",
    "action_new_to_log",
    "retrieval_distance",
    "abstained_share",
    "exact_transition_share",
    "cut_observation_share",
    "unreadable_observation_share",
    "novel_observation_share",
    "decoding_error",
    "candidate_mass",
    "stale_context_share",
    "adapter_agreement",
    "adapter_kl",
)
Found = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What the numbers of a task depend on besides the models; a change of any of them begins anew.

    Attributes:
        n, seed: block of the log. episodes: held out. rollouts: per target. success: share of the largest return.
    """

    log: str
    n: int
    seed: int
    episodes: int
    rollouts: int
    success: float


class TaskStudy:
    """One task; models are fitted at first need.

    Args:
        targets: names of policies; all of them if empty.
    """

    def __init__(self, task: Task, setting: Setting, targets: Sequence[str]):
        self.task, self.setting = task, setting
        data = task.log(setting.log)
        self.block = data.subset(setting.n, setting.seed)
        self.outside = held_out(data, setting.n, setting.seed, setting.episodes)
        all_targets = [card.name for card in task.targets()]
        if unknown := sorted(set(targets) - set(all_targets)):
            raise BenchError(f"{task.name} has no target {', '.join(unknown)}. Its targets: {', '.join(all_targets)}.")
        self.targets = [name for name in all_targets if not targets or name in targets]
        self.least = setting.success * task.card.return_range[1]

    def begin(self, kept: Found | None) -> Found:
        """What is known of the task already."""
        return {
            "setting": asdict(self.setting),
            "episodes": self.setting.episodes,
            "horizon": self.block.horizon,
            "least": self.least,
            "log_repeats": asdict(repeats_in(self.block)),
            "all_targets": len(self.task.targets()),
            "models": kept["models"] if kept is not None else {},
        }

    def study(self, spec: str, entry: Found) -> Iterator[str]:
        """Fills in what an entry of a model lacks; yields the name of each part before it is computed."""
        estimator = replace(simulator(spec), rollouts=self.setting.rollouts)
        if (entry.get("version"), entry.get("study")) != (estimator.version, VERSION):  # of other code, or none
            entry.clear()
        missing = [name for name in self.targets if name not in entry.setdefault("targets", {})]
        if "heads" in entry and not missing:
            return
        yield "fit"
        estimator.fit(self.block, rng_for("fit", self.task.name, spec, self.setting.seed))
        entry |= {"version": estimator.version, "study": VERSION, "made": made_now(), "note": estimator.label()}
        if "heads" not in entry:
            yield "heads"
            entry["heads"] = self.heads(spec, estimator)
        for name in missing:
            yield name
            entry["targets"][name] = self.target(spec, estimator, name)

    def heads(self, spec: str, estimator: SimulationEstimator) -> Found:
        """Reliability of the heads after real and after generated observations."""
        policy = self.task.policy(self.targets[0])
        soft = getattr(estimator, "reads", "text") != "text" and opened(policy) is not None
        rng = rng_for("heads", self.task.name, spec, self.setting.seed)
        said, real = heads(estimator, self.outside, soft, rng), observed(self.outside)
        return {
            kind: None if x is None else _reliability(x, real)
            for kind, x in zip(("real", "generated"), said, strict=True)
        }

    def target(self, spec: str, estimator: SimulationEstimator, name: str) -> Found:
        """Simulated against real episodes of one target."""
        policy = self.task.policy(name)
        reason = estimator.unsupported(self.block, policy)
        if reason is not None:
            return {"declined": reason}
        begun = time.perf_counter()
        played = estimator.simulate(policy, rng_for("simulate", self.task.name, spec, name, self.setting.seed))
        real = really_played(self.task, name)
        simulated = Played(played.returns, played.lengths, played.ended, played.instances)
        gap, low, high = success_gap(simulated, real, self.least, rng_for("success", self.task.name, name))
        again = repeats([(o, a) for o, a, _ in steps] for steps in played.episodes)
        return {
            **_summary("simulated", simulated, self.least),
            **_summary("real", real, self.least),
            "hallucinated_success": gap,
            "hallucinated_success_low": low,
            "hallucinated_success_high": high,
            "repeats": asdict(again),
            "diagnostics": {k: known(played.diagnostics[k]) for k in KEPT_DIAGNOSTICS if k in played.diagnostics},
            "seconds": round(time.perf_counter() - begun, 1),
        }


def _reliability(said: Heads, real: Heads) -> Found:
    return {"ending": of_ending(said.ending, real.ending), "reward": of_reward(said.reward, real.reward)}


def _summary(kind: str, played: Played, least: float) -> Found:
    return {
        f"{kind}_length": float(played.lengths.mean()),
        f"{kind}_ended": float(played.ended.mean()),
        f"{kind}_success": float((played.returns >= least - 1e-6).mean()),
        f"{kind}_return": float(played.returns.mean()),
        f"{kind}_episodes": len(played.returns),
    }


def _keep(results: Path, found: Found) -> None:
    """Writes what is known; models that have nothing yet are left out."""
    known_tasks = {
        task: entry | {"models": {spec: x for spec, x in entry["models"].items() if "heads" in x}}
        for task, entry in found.items()
    }
    keep_answer(results, NAME, {"tasks": known_tasks}, as_tables(known_tasks, MODELS))


def main(
    tasks: tuple[str, ...] = ("toy_chain", "scienceworld"),
    models: tuple[str, ...] = MODELS,
    targets: tuple[str, ...] = (),
    log: str = "pooled",
    n: int = 1000,
    seed: int = 0,
    episodes: int = 100,
    rollouts: int = 100,
    success: float = 0.9,
    results: Path = RESULTS,
    again: bool = False,
) -> None:
    """Holds what world models say and do against reality.

    Args:
        tasks: tasks to study.
        models: specs of world models.
        targets: policies to simulate; all of each task if none is named.
        log: log of the tasks.
        n: episodes the models are fitted to.
        seed: which block of the log that is.
        episodes: episodes outside the block for reward and termination heads.
        rollouts: simulated episodes per target.
        success: share of the largest possible return that counts as success.
        results: folder of results; writes studies/calibration.json and figures.
        again: forget what an earlier run has found on these tasks.

    Raises:
        BenchError: an earlier run had other settings on one of these tasks; a target that a task does not have.
    """
    kept = (kept_answer(results, NAME) or {}).get("tasks", {})
    found: Found = {task: entry for task, entry in kept.items() if not (again and task in tasks)}
    setting = Setting(log, n, seed, episodes, rollouts, success)
    for name in tasks:
        refuse_other_settings(NAME, name, found[name]["setting"] if name in found else None, asdict(setting))
    with tqdm(total=len(tasks) * len(models), unit="model", dynamic_ncols=True) as bar:
        for name in tasks:
            study = TaskStudy(task_named(name), setting, targets)
            found[name] = study.begin(found.get(name))
            for spec in models:
                entry = found[name]["models"].setdefault(spec, {})
                for part in study.study(spec, entry):
                    _keep(results, found)
                    bar.set_postfix_str(f"{name}, {spec}: {part}")
                _keep(results, found)
                bar.update()
            save(calibration_figure(name, found[name]), figure_folder(results), f"{NAME}_{name}")
    print(as_tables(found, MODELS))


if __name__ == "__main__":
    sys.exit(start(main))
