"""How far is each form of guidance from the truth when every model is exact? Random tabular MDPs, nothing sampled.

    python -m studies.guidance_bias

ADWM draws the next observation from p(o'|h) p(a|o',h)^omega C(o')^eta, then asks the agent. In a finite MDP prior,
action posterior and continuation C are sums over tables, so the value under each kernel is exact, and so is its bias.
omega = 1, eta = 0 is the true kernel (Bayes), and with importance ratios in C the continuation is 1 everywhere;
anything else is biased before any model is learned. 300 MDPs with 4 states, 3 actions and 5 steps, MDP i from seed i.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bench.plots.style import save
from bench.registry import estimator_class
from bench.tables import table
from studies.answers import RESULTS, figure_folder, keep_answer, start
from studies.heat_map import heat_maps

NAME = "guidance_bias"
STATES, ACTIONS, STEPS = 4, 3, 5
OMEGAS, ETAS = (0.0, 1.0, 1.5, 2.0), (0.0, 0.3, 1.0)
"""The grid that `studies.ablation` runs with learned models."""
DECLARED = estimator_class("adwm")
"""Its defaults are the declared scales."""
EXAMPLE = {"behavior": 0.8, "target": 0.5}
"""Probability of the first of two actions under each policy."""
Continuation = Literal["behavior", "target", "ratio"]


@dataclass(frozen=True)
class Form:
    """One form of guidance.

    Attributes:
        omega, eta: exponents of action posterior and continuation.
        continuation: C = E[prod pi_e] over futures of the behavior policy ("behavior", as the paper has it) or of the
            target ("target"), or E[prod pi_e / pi_b] over futures of the behavior policy ("ratio").
    """

    omega: float
    eta: float
    continuation: Continuation = "behavior"

    @property
    def label(self) -> str:
        """In words."""
        factor = {"behavior": "E_b[prod pi_e]", "target": "E_e[prod pi_e]", "ratio": "E_b[prod pi_e / pi_b]"}
        return f"omega = {self.omega:g}, eta = {self.eta:g}" + (
            f", C = {factor[self.continuation]}" if self.eta else ""
        )


FORMS = {
    Form(1, 0): "the true kernel",
    Form(1, 1, "ratio"): "the correct ratio",
    Form(1, 0.3): "",
    Form(2, 0): "",
    Form(1, 1, "target"): "",
    Form(2, 1): "",
    Form(1, 1): "the paper's continuation",
    Form(0, 0): "no action guidance",
    Form(DECLARED.omega, DECLARED.eta): "the scales `adwm` ships with, as an exact tilt",
}
"""Each form, and what it is called."""


@dataclass(frozen=True)
class Processes:
    """M tabular MDPs with a behavior and a target policy each.

    Attributes:
        kernel: (M, S, A, S) transition probabilities.
        reward: (M, S, A).
        behavior, target: (M, S, A) action probabilities.
        initial: (M, S).
    """

    kernel: np.ndarray
    reward: np.ndarray
    behavior: np.ndarray
    target: np.ndarray
    initial: np.ndarray


def draw_processes(count: int) -> Processes:
    """MDP i from seed i: P ~ Dirichlet(.5), R ~ N(0, 1), policies and initial distribution ~ Dirichlet(1)."""
    drawn = [_draw(np.random.default_rng(seed)) for seed in range(count)]
    return Processes(*(np.stack(parts) for parts in zip(*drawn, strict=True)))


def _draw(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    kernel = rng.dirichlet(np.full(STATES, 0.5), size=(STATES, ACTIONS))
    reward = rng.normal(size=(STATES, ACTIONS))
    behavior, target = (rng.dirichlet(np.ones(ACTIONS), size=STATES) for _ in range(2))
    return kernel, reward, behavior, target, rng.dirichlet(np.ones(STATES))


def value(processes: Processes, policy: np.ndarray, kernels: Sequence[np.ndarray]) -> np.ndarray:
    """(M,) expected return of a policy (M, S, A) over len(kernels) steps, step t under kernels[t]."""
    ahead = np.zeros(processes.initial.shape)
    for kernel in reversed(kernels):
        q = processes.reward + np.einsum("msat,mt->msa", kernel, ahead)
        ahead = (policy * q).sum(axis=-1)
    return (processes.initial * ahead).sum(axis=-1)


def continuations(processes: Processes, kind: Continuation) -> list[np.ndarray]:
    """(M, S) factor C of the state that step t leads to, for each of the STEPS steps; 1 after the last action."""
    law = processes.target if kind == "target" else processes.behavior
    weight = processes.target / processes.behavior if kind == "ratio" else processes.target
    found = [np.ones(processes.initial.shape)]
    for _ in range(STEPS - 1):
        found.append((law * weight * np.einsum("msat,mt->msa", processes.kernel, found[-1])).sum(axis=-1))
    return found[::-1]


def guided_kernels(processes: Processes, form: Form) -> list[np.ndarray]:
    """(M, S, A, S) normalized product of prior, action posterior and continuation, for each of the STEPS steps."""
    joint = processes.behavior[..., None] * processes.kernel
    prior = joint.sum(axis=2, keepdims=True)  # (M, S, 1, S)
    guided = prior * (joint / prior) ** form.omega
    kernels = [guided * ahead[:, None, None, :] ** form.eta for ahead in continuations(processes, form.continuation)]
    return [kernel / kernel.sum(axis=-1, keepdims=True) for kernel in kernels]


def biases(processes: Processes, form: Form) -> np.ndarray:
    """(M,) value of the target under guided kernels minus its value under the true ones."""
    true = value(processes, processes.target, [processes.kernel] * STEPS)
    return value(processes, processes.target, guided_kernels(processes, form)) - true


def scale(processes: Processes) -> float:
    """Mean difference in value between behavior and target policy: what off-policy evaluation has to bridge."""
    values = [value(processes, policy, [processes.kernel] * STEPS) for policy in (processes.behavior, processes.target)]
    return float(np.abs(values[0] - values[1]).mean())


def one_decision(behavior: float, target: float) -> tuple[float, float]:
    """Probability of the first of two actions after multiplying the logged law by the target's probabilities.

    Returns:
        Without and with the behavior's probabilities in the denominator; only the second is the target's.
    """
    logged, wanted = np.array([behavior, 1 - behavior]), np.array([target, 1 - target])
    products = (logged * wanted, logged * (wanted / logged))
    without, ratio = (float((law / law.sum())[0]) for law in products)
    return without, ratio


def answer(count: int) -> tuple[dict[str, object], str, np.ndarray]:
    """Numbers, table, and the (omega, eta) grid of relative bias with the paper's continuation."""
    processes = draw_processes(count)
    unit = scale(processes)
    found = {form: biases(processes, form) for form in FORMS}
    rows = [
        {
            **asdict(form),
            "label": form.label,
            "name": FORMS[form],
            "relative_bias": float(np.abs(bias).mean()) / unit,
            "largest": float(np.abs(bias).max()),
        }
        for form, bias in found.items()
    ]
    rows.sort(key=lambda row: row["relative_bias"])
    grid = np.array([[np.abs(biases(processes, Form(w, e))).mean() / unit for e in ETAS] for w in OMEGAS])
    without, ratio = one_decision(**EXAMPLE)
    content = {
        "processes": {"count": count, "states": STATES, "actions": ACTIONS, "steps": STEPS},
        "mean_difference_of_policies": unit,
        "forms": rows,
        "grid": {"omega": OMEGAS, "eta": ETAS, "relative_bias": grid.tolist()},
        "one_decision": {**EXAMPLE, "without_denominator": without, "with_denominator": ratio},
    }
    return content, markdown(content), grid


def markdown(content: dict) -> str:
    """The table, and the example that needs no table."""
    rows = [
        [row["label"] + (f" ({row['name']})" if row["name"] else ""), f"{row['relative_bias']:.3f}"]
        for row in content["forms"]
    ]
    example, count = content["one_decision"], content["processes"]["count"]
    return (
        f"Mean absolute bias of the value over {count} random MDPs, as a share of the mean difference between behavior "
        "and target policy; every model exact, nothing sampled.\n\n"
        + table(["kernel", "relative bias"], rows)
        + f"\n\nOne decision, behavior {example['behavior']}, target {example['target']}: the product without the "
        f"behavior's probability in the denominator gives {example['without_denominator']:.2f}, with it "
        f"{example['with_denominator']:.2f}."
    )


def main(count: int = 300, results: Path = RESULTS) -> None:
    """Bias of every form of guidance in exact tabular models.

    Args:
        count: number of random MDPs.
        results: folder of the results.
    """
    content, text, grid = answer(count)
    path = keep_answer(results, NAME, content, text)
    heading = "Bias of guidance with exact models"
    figure = heat_maps({"": grid}, OMEGAS, ETAS, heading, "mean |bias| / mean |J(behavior) - J(target)|")
    save(figure, figure_folder(results), NAME)
    print(f"{text}\n\n{path}")


if __name__ == "__main__":
    sys.exit(start(main))
