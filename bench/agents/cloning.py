"""Behavior cloning of small causal language models on demonstrations, with checkpoints from weak to strong."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

from bench.agents.transcript import END, GOAL, PAD, Transcript
from bench.data import Step, Trajectory


@dataclass(frozen=True)
class CloningConfig:
    """Size of the model and of its training.

    Attributes:
        hidden, layers, heads, feed_forward: shape of the Llama model.
        epochs: passes over the demonstrations.
        batch_tokens: padded tokens per update.
        learning_rate: peak; linear warm-up over 5 % of the updates, cosine decay to 5 %.
        initializer_range: standard deviation of the initial weights; `hidden ** -0.5` learns to copy faster than .02.
        observation_weight: weight of the loss on all that is not imitated (goal, observations, noise) beside the loss
            on actions; texts that repeat names are what a small model learns to copy from.
        checkpoints: shares of the training after which weights are saved.
    """

    hidden: int = 128
    layers: int = 3
    heads: int = 4
    feed_forward: int = 256
    epochs: float = 5.0
    batch_tokens: int = 4_096
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    initializer_range: float = 0.02
    observation_weight: float = 0.0
    checkpoints: tuple[float, ...] = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)


@dataclass(frozen=True)
class Demonstration:
    """An episode to imitate; `clone[t]` says whether action t is to be imitated (noise is not)."""

    episode: Trajectory
    clone: tuple[bool, ...]


def read_demonstrations(paths: Sequence[Path]) -> list[Demonstration]:
    """Reads JSONL demonstrations: instance, goal, steps of observation, action, clone, reward."""
    found = []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            raw = json.loads(line)
            steps = tuple(Step(s["observation"], s["action"], s["reward"]) for s in raw["steps"])
            episode = Trajectory(f"{path.stem}:{number}", raw["instance"], raw["goal"], steps, raw["final_observation"])
            found.append(Demonstration(episode, tuple(s["clone"] for s in raw["steps"])))
    return found


def new_model(config: CloningConfig, vocabulary: int, seed: int) -> LlamaForCausalLM:
    """A freshly initialized model; the seed does not touch the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary,
                hidden_size=config.hidden,
                intermediate_size=config.feed_forward,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.heads,
                max_position_embeddings=8192,
                tie_word_embeddings=True,
                initializer_range=config.initializer_range,
                pad_token_id=PAD,
                bos_token_id=GOAL,
                eos_token_id=END,
            )
        )


def save_checkpoint(model: LlamaForCausalLM, folder: Path) -> None:
    """Saves in Hugging Face format with weights rounded to float16, the values every later use computes with.

    The output layer is the embedding table (tied): it is not stored a second time.
    """
    half = {k: v.detach().to(torch.float16) for k, v in model.state_dict().items() if k != "lm_head.weight"}
    model.save_pretrained(folder, state_dict=half, safe_serialization=True)


def clone(
    demonstrations: Sequence[Demonstration],
    transcript: Transcript,
    config: CloningConfig,
    seed: int,
    out: Path,
    tag: str,
) -> None:
    """Trains one model and saves its checkpoints as `<out>/<tag>-<percent>`; resumes from `<out>/<tag>.state`.

    Tokens of actions to be imitated carry the loss, their end markers included; the rest of the text carries as little
    of it as `observation_weight` says.
    """
    model = new_model(config, transcript.vocabulary, seed)
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
    )
    examples = [_example(d, transcript) for d in demonstrations]
    plan = list(_batches(examples, config, np.random.default_rng(seed)))
    marks = {max(1, round(share * len(plan))): share for share in config.checkpoints}
    identity = {"config": json.dumps(asdict(config)), "seed": seed, "demonstrations": len(examples)}
    state_path, done = out / f"{tag}.state", 0
    state = torch.load(state_path, weights_only=True) if state_path.exists() else {}
    if state and state["identity"] != identity:
        print(f"{state_path} belongs to another training ({state['identity']}): starting anew.", flush=True)
    elif state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["updates"]
    losses, started = [], time.monotonic()
    bar = tqdm(
        range(done, len(plan)), initial=done, total=len(plan), desc=f"cloning {tag}", unit="update", mininterval=10
    )
    for update in bar:
        rate = _rate(update, len(plan))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * rate
        losses.append(_update(model, optimizer, [examples[i] for i in plan[update]], config.observation_weight))
        bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}", refresh=False)
        if update + 1 in marks:
            share = marks[update + 1]
            folder = out / f"{tag}-{round(100 * share):03d}"
            save_checkpoint(model, folder)
            facts = identity | {
                "config": asdict(config),
                "updates": update + 1,
                "loss": float(np.mean(losses[-50:])),
                "seconds": time.monotonic() - started,
            }
            (folder / "training.json").write_text(json.dumps(facts, indent=1))
            state = {
                "identity": identity,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "updates": update + 1,
            }
            torch.save(state, state_path.with_suffix(".part"))
            state_path.with_suffix(".part").replace(state_path)


def _rate(update: int, total: int) -> float:
    warm = min(1.0, (update + 1) / (0.05 * total))
    return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * update / total)))


def _example(demonstration: Demonstration, transcript: Transcript) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and the mask of tokens that carry loss."""
    encoded = transcript.episode(demonstration.episode)
    mask = np.zeros(len(encoded.ids), dtype=bool)
    for (start, stop), imitate in zip(encoded.spans, demonstration.clone, strict=True):
        mask[start:stop] = imitate
    last = max((stop for (_, stop), c in zip(encoded.spans, demonstration.clone, strict=True) if c), default=0)
    return np.array(encoded.ids[:last]), mask[:last]


def _batches(examples: Sequence, config: CloningConfig, rng: np.random.Generator) -> Iterator[list[int]]:
    """Batches of similar length, in random order, over all epochs."""
    length = np.array([len(ids) for ids, _ in examples])
    whole = int(config.epochs)
    for epoch in range(whole + (config.epochs > whole)):
        order = np.argsort(length * rng.uniform(0.9, 1.1, len(length)))
        batches, start = [], 0
        while start < len(order):
            size = max(
                1, config.batch_tokens // int(length[order[start:]].min() if start == 0 else length[order[start]])
            )
            while size > 1 and length[order[start : start + size]].max() * size > config.batch_tokens:
                size -= 1
            batches.append(order[start : start + size].tolist())
            start += size
        rng.shuffle(batches)
        yield from batches[: round(len(batches) * min(1.0, config.epochs - epoch))]


def _update(
    model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, batch: list, observation_weight: float = 0.0
) -> float:
    """One step of AdamW; returns the mean loss over imitated tokens."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.full((len(batch), width), PAD)
    mask = torch.zeros(len(batch), width, dtype=torch.bool)
    for row, (tokens, imitate) in enumerate(batch):
        ids[row, : len(tokens)] = torch.from_numpy(tokens)
        mask[row, : len(tokens)] = torch.from_numpy(imitate)
    states = model.base_model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    following, imitated = ids[:, 1:], mask[:, 1:]

    def loss_at(place: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model.lm_head(states[place]), following[place])

    loss = total = loss_at(imitated)
    if observation_weight:
        total = loss + observation_weight * loss_at(~imitated & (following != PAD))
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())
