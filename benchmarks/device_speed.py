"""Agents on a GPU: scoring, acting and gradients at soft tokens, for the recorded agents' size and for 0.3 billion.

    python benchmarks/device_speed.py [--device cuda] [--episodes N]

Episodes are those of the first block of ScienceWorld's pooled log. The large model has random weights: only its speed
means anything. Prints the largest difference between devices and between precisions, too. One CPU thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from bench.agents.language_model import LanguageModel
from bench.agents.lm_policy import LMPolicy
from bench.agents.transcript import Transcript
from bench.data import Trajectory
from bench.registry import task

TURNS, TOGETHER, SOFT = 4, 50, 8
LARGE = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, num_key_value_heads=4)


def seconds(work: Callable[[], object], device: str) -> float:
    """Duration of the second of two calls."""
    for _ in range(2):
        begun = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
    return time.perf_counter() - begun


def measure(
    name: str, model: PreTrainedModel, transcript: Transcript, episodes: Sequence[Trajectory], device: str, dtype: str
) -> np.ndarray:
    """Prints the speed of one model in one place; returns its log-probabilities of all logged actions."""
    policy = LMPolicy(name, LanguageModel(model.to(device, getattr(torch, dtype)), transcript))
    tokens = sum(len(transcript.episode(t).ids) for t in episodes)
    scoring = seconds(lambda: policy.log_prob_episodes(episodes), device)
    players = episodes[:TOGETHER]

    def play() -> None:
        session = policy.start([t.goal for t in players], list(range(len(players))))
        for turn in range(TURNS):
            session.step([t.steps[min(turn, len(t) - 1)].observation for t in players])

    soft = [torch.zeros(len(t), SOFT, policy.white_box.size, requires_grad=True) for t in episodes[:8]]

    def differentiate() -> None:
        policy.white_box.logits(policy.white_box.action_states(episodes[:8], soft)).logsumexp(-1).sum().backward()

    acting, gradient = seconds(play, device), seconds(differentiate, device)
    print(
        f"{name:9s} {device:6s} {dtype:9s} scoring {tokens / scoring:11,.0f} tokens/s; {TURNS} turns of {len(players)} "
        f"episodes {acting:6.2f} s; gradient, {len(soft)} episodes {gradient:6.2f} s",
        flush=True,
    )
    return np.concatenate(policy.log_prob_episodes(episodes))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--episodes", type=int, default=128)
    asked = parser.parse_args()
    if asked.device != "cpu" and not torch.cuda.is_available():
        print("no GPU that this build of torch can use: nothing measured (--device cpu measures the CPU alone)")
        return 0
    torch.set_num_threads(1)
    science = task("scienceworld")
    episodes = science.log("pooled").subset(asked.episodes, 0).trajectories
    small = science.live_policy(science.cards[science.targets()[0].name]).lm
    large = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=small.transcript.vocabulary, intermediate_size=3072, max_position_embeddings=8192, **LARGE
        )
    )
    sizes = {"recorded": (small.model, episodes), "0.3 B": (large, episodes)}
    for name, (model, part) in sizes.items():
        few = part if name == "recorded" else part[:4]  # a large model on one CPU thread
        here = measure(name, model, small.transcript, few, "cpu", "float32")
        if asked.device == "cpu":
            continue
        there = measure(name, model, small.transcript, part, asked.device, "float32")
        half = measure(name, model, small.transcript, part, asked.device, "bfloat16")
        print(
            f"{name:9s} largest difference of a log-probability: {np.abs(there[: len(here)] - here).max():.1e} between "
            f"devices, {np.abs(half - there).max():.1e} between precisions"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
