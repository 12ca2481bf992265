"""The tables of the calibration study, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.tables import DASH, table

READ = (
    "*hallucinated*: share of simulated minus share of real episodes that succeed; its interval is over episodes, of "
    "this one training. All models but retrieval and joint diffusion pay expected rewards: where such a model is "
    "unsure of a success, the return lies in between and counts as none, so that returns must be read beside the "
    "shares."
)


def as_tables(found: Mapping[str, Any], models: Sequence[str]) -> str:
    """Heads per model, means over the targets, then one row per model and target, then what has not been run.

    Args:
        found: task to what is known of it. Models whose heads are not known yet are left out.
        models: what should be there.
    """
    found = {task: entry | {"models": _in_order(entry["models"], models)} for task, entry in found.items()}
    return "\n\n".join(
        [
            "Reward and termination heads at real held-out steps, after the real and after the generated observation:",
            _heads(found),
            "Simulated episodes beside real ones, means over the targets:",
            _means(found),
            READ,
            "<details><summary>The same, target by target</summary>",
            _targets(found),
            "</details>",
            *_not_run(found, models),
        ]
    )


def _in_order(known: Mapping[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """As they should be there, others after them."""
    return {name: known[name] for name in [*models, *known] if name in known}


def _means(found: Mapping[str, Any]) -> str:
    header = [
        "task",
        "model",
        "targets",
        "length minus real",
        "|length minus real|",
        "return minus real",
        "|return minus real|",
        "hallucinated (least to most)",
        "repeats answered otherwise",
        "real log",
        "adapter agreement",
        "adapter KL",
    ]
    rows = []
    for task, entry in found.items():
        for name, model in entry["models"].items():
            told = [x for x in model.get("targets", {}).values() if "declined" not in x]
            if not told:
                continue
            length, gained = ([x[f"simulated_{k}"] - x[f"real_{k}"] for x in told] for k in ("length", "return"))
            gap = [x["hallucinated_success"] for x in told]
            repeats = {k: sum(x["repeats"][k] for x in told) for k in ("asked", "differ")}
            rows.append(
                [
                    task,
                    f"`{name}`",
                    str(len(told)),
                    f"{fmean(length):+.1f}",
                    f"{fmean(map(abs, length)):.1f}",
                    f"{fmean(gained):+.2f}",
                    f"{fmean(map(abs, gained)):.2f}",
                    f"{fmean(gap):+.2f} ({min(gap):+.2f} to {max(gap):+.2f})",
                    _share(repeats),
                    _share(entry["log_repeats"]),
                    *(_mean_known(told, k) for k in ("adapter_agreement", "adapter_kl")),
                ]
            )
    return table(header, rows)


def _mean_known(told: Sequence[Mapping[str, Any]], name: str) -> str:
    values = [x["diagnostics"][name] for x in told if x["diagnostics"].get(name) is not None]
    return f"{fmean(values):.2f}" if values else DASH


def _not_run(found: Mapping[str, Any], models: Sequence[str]) -> list[str]:
    lines = []
    for task, entry in found.items():
        known = {name: model.get("targets", {}) for name, model in entry["models"].items() if model.get("heads")}
        lacking = [f"`{name}`" for name in models if name not in known]
        targets = sorted({target for of_model in known.values() for target in of_model})
        if lacking:
            lines.append(f"- {task}: not run: {', '.join(lacking)}")
        if targets and len(targets) < entry.get("all_targets", 0):
            lines.append(f"- {task}: {len(targets)} of {entry['all_targets']} targets: {', '.join(targets)}")
    return ["\n".join(lines)] if lines else []


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
        "hallucinated [simulation error]",
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
