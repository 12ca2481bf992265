"""The tables of the calibration study, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.tables import table

DASH = "-"


def as_tables(found: Mapping[str, Any]) -> str:
    """Heads per model, then one row per model and target.

    Args:
        found: task to what is known of it. Models whose heads are not known yet are left out.
    """
    return "\n\n".join(
        [
            "Reward and termination heads at real held-out steps, after the real and after the generated observation:",
            _heads(found),
            "Simulated episodes beside real ones:",
            _targets(found),
        ]
    )


def _heads(found: Mapping[str, Any]) -> str:
    header = [
        "task",
        "model",
        "after",
        "ending: Brier",
        "Brier of the base rate",
        "ECE",
        "mean said",
        "happened",
        "reward: MAE",
        "RMSE",
        "bias",
        "ECE",
    ]
    rows = []
    for task, entry in found.items():
        for name, model in entry["models"].items():
            for kind, said in model.get("heads", {}).items():
                if said is None:
                    continue
                end, reward = said["ending"], said["reward"]
                ending = (end["brier"], end["brier_of_base_rate"], end["ece"], end["mean"], end["base_rate"])
                rewards = (f"{reward[k]:.4f}" for k in ("mae", "rmse", "bias", "ece"))
                rows.append([task, f"`{name}`", kind, *(f"{x:.3f}" for x in ending), *rewards])
    return table(header, rows)


def _targets(found: Mapping[str, Any]) -> str:
    header = [
        "task",
        "model",
        "target",
        "length",
        "real",
        "return",
        "real",
        "success",
        "real",
        "hallucinated [95 %]",
        "repeats answered otherwise",
        "real log",
        "new to instance",
        "new to log",
        "abstained",
        "adapter agreement",
        "adapter KL",
    ]
    rows = []
    for task, entry in found.items():
        log = _share(entry["log_repeats"])
        for name, model in entry["models"].items():
            for target, x in model.get("targets", {}).items():
                cells = [x["declined"]] + [DASH] * (len(header) - 4) if "declined" in x else _cells(x, log)
                rows.append([task, f"`{name}`", target, *cells])
    return table(header, rows)


def _cells(x: Mapping[str, Any], log: str) -> list[str]:
    gap = (x["hallucinated_success"], x["hallucinated_success_low"], x["hallucinated_success_high"])
    diagnostics = ("action_new_to_instance", "action_new_to_log", "abstained_share", "adapter_agreement", "adapter_kl")
    return [
        f"{x['simulated_length']:.1f}",
        f"{x['real_length']:.1f}",
        f"{x['simulated_return']:.2f}",
        f"{x['real_return']:.2f}",
        f"{x['simulated_success']:.2f}",
        f"{x['real_success']:.2f}",
        "{:+.2f} [{:+.2f}, {:+.2f}]".format(*gap),
        _share(x["repeats"]),
        log,
        *(DASH if x["diagnostics"].get(k) is None else f"{x['diagnostics'][k]:.2f}" for k in diagnostics),
    ]


def _share(repeats: Mapping[str, int]) -> str:
    return f"{repeats['differ'] / repeats['asked']:.2f} of {repeats['asked']:,}" if repeats["asked"] else DASH
