"""Trains the language model of the world by maximum likelihood until held-out episodes become no likelier."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.data import LoggedDataset
from estimators._autoregressive.marginal import Marginal
from estimators._autoregressive.model import Shape, TextWorldModel
from estimators._autoregressive.segments import Language, Segment
from estimators._world.devices import moved, training_device
from estimators._world.rewards import reward_support, two_hot

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextTraining:
    """How long and how fast.

    Attributes:
        updates: at most; so many for every size of log.
        batch_tokens: padded tokens per update.
        learning_rate: peak for a width of 128, and as much more for narrower models; warm-up over 5 % of the updates,
            cosine decay to 3 %.
        held_out: share of episodes kept apart to stop early.
        looks: how often they are looked at, evenly spread.
        patience: looks without a better held-out likelihood before stopping.
    """

    updates: int
    batch_tokens: int
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    held_out: float = 0.1
    looks: int = 12
    patience: int = 3


@dataclass(frozen=True)
class TextFit:
    """A trained world model.

    Attributes:
        model: in evaluation mode. language: its tokens.
        facts: held-out losses in nats per answer, `gain` (share of the nats of one who sees neither action nor history,
            `Marginal`, that it removes), `last_fall` (share by which the loss fell between the best look at held-out
            episodes and the one before), updates, seconds, parameters, `on_gpu`.
    """

    model: TextWorldModel
    language: Language
    facts: dict[str, float]


@dataclass(frozen=True)
class TextBatch:
    """B segments, padded, A answers in them.

    Attributes:
        ids: (B, L). learned: (B, L) bool.
        row, place: (A,) where each answer ends. reward, ended: (A,).
    """

    ids: Tensor
    learned: Tensor
    row: Tensor
    place: Tensor
    reward: Tensor
    ended: Tensor

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> TextBatch:
        """Right-padded: causal attention never sees the padding."""
        ids = np.zeros((len(segments), max(len(s.ids) for s in segments)), dtype=np.int64)
        learned = np.zeros(ids.shape, dtype=bool)
        for row, s in enumerate(segments):
            ids[row, : len(s.ids)], learned[row, : len(s.ids)] = s.ids, s.learned
        joined = [np.concatenate([getattr(s, name) for s in segments]) for name in ("place", "reward", "ended")]
        row = np.repeat(np.arange(len(segments)), [len(s.place) for s in segments])
        place, reward, ended = joined
        numbers = (torch.tensor(x, dtype=torch.float32) for x in (reward, ended))
        return cls(*(torch.from_numpy(x) for x in (ids, learned, row, place)), *numbers)


def train_text_world(
    data: LoggedDataset, language: Language, shape: Shape, training: TextTraining, rng: np.random.Generator
) -> TextFit:
    """Fits the language model of a world to a log; the same log and generator give the same weights."""
    started, device = time.perf_counter(), training_device()
    order = rng.permutation(len(data))
    held_out, learned = np.split(order, [max(1, round(training.held_out * len(order)))])
    learned = learned if len(learned) else held_out  # a log of one episode
    parts = [[s for i in part for s in language.segments(data.trajectories[i])] for part in (learned, held_out)]
    rewards = reward_support(torch.tensor(data.columns.rewards, dtype=torch.float32))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(2**62)))
        model = TextWorldModel(shape, language.transcript.vocabulary, rewards)
    facts = _Loop(model.to(device), training).run(*parts, rng)
    model.cpu()
    blind = Marginal(parts[0], language.transcript.vocabulary).nats(parts[1])
    facts["gain"] = 1 - facts["text_nats"] / blind
    facts |= {
        "blind_text_nats": blind,
        "seconds": time.perf_counter() - started,
        "parameters": float(sum(p.numel() for p in model.parameters())),
        "on_gpu": float(device.type != "cpu"),
    }
    return TextFit(model.requires_grad_(False).eval(), language, facts)


class _Loop:
    def __init__(self, model: TextWorldModel, training: TextTraining):
        self.model, self.training, self.device = model, training, model.rewards.device
        self.peak = training.learning_rate * 128 / model.body.config.hidden_size
        wide = [p for p in model.parameters() if p.ndim > 1]
        flat = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": wide, "weight_decay": training.weight_decay}, {"params": flat, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=self.peak, betas=(0.9, 0.98))

    def run(
        self, learned: Sequence[Segment], held_out: Sequence[Segment], rng: np.random.Generator
    ) -> dict[str, float]:
        training, best, kept, waited, last = self.training, math.inf, None, 0, math.inf
        looks = set(np.linspace(0, training.updates, training.looks + 1).round().astype(int)[1:].tolist())
        parts = _forever(learned, training.batch_tokens, rng)
        for done in range(1, training.updates + 1):
            self._set_rate(done / training.updates)
            self._update(moved(TextBatch.of(next(parts)), self.device))
            if done not in looks:
                continue
            facts = self.measure(held_out)
            log.info("update %d of %d: %s", done, training.updates, {k: round(v, 3) for k, v in facts.items()})
            facts["last_fall"] = 1 - facts["nats"] / last
            waited, last = waited + 1, facts["nats"]
            if facts["nats"] < best:
                best, kept, waited = facts["nats"], (copy.deepcopy(self.model.state_dict()), facts, done), 0
            if waited >= training.patience:
                break
        weights, facts, when = kept
        self.model.load_state_dict(weights)
        return facts | {"updates": float(done), "best_update": float(when)}

    def _set_rate(self, progress: float) -> None:
        rate = min(1.0, progress / 0.05) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.peak * rate

    def _update(self, batch: TextBatch) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        text, reward, end = losses(self.model, batch)
        ((text + reward + end) / max(1, int(batch.learned.sum()))).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    @torch.no_grad()
    def measure(self, segments: Sequence[Segment]) -> dict[str, float]:
        """Nats per answer of text, reward and ending, and perplexity per token."""
        self.model.eval()
        totals, answers, tokens = np.zeros(3), 0, 0
        for part in batches(segments, 4 * self.training.batch_tokens):
            batch = moved(TextBatch.of(part), self.device)
            totals += [float(x) for x in losses(self.model, batch)]
            answers += len(batch.row)
            tokens += int(batch.learned.sum())
        self.model.train()
        text, reward, end = (totals / answers).tolist()
        parts = {"text_nats": text, "reward_nats": reward, "end_nats": end}
        return {"nats": text + reward + end, **parts, "perplexity": math.exp(totals[0] / max(tokens, 1))}


def losses(model: TextWorldModel, batch: TextBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Summed negative log-likelihoods of the observations' tokens, of the rewards (two-hot), of the endings."""
    hidden = model.read(batch.ids)
    target = batch.learned[:, 1:]
    text = F.cross_entropy(model.token_logits(hidden[:, :-1][target]), batch.ids[:, 1:][target], reduction="sum")
    reward_logits, end_logits = model.events(hidden[batch.row, batch.place])
    reward = -(two_hot(batch.reward, model.rewards) * reward_logits.log_softmax(dim=-1)).sum()
    return text, reward, F.binary_cross_entropy_with_logits(end_logits, batch.ended, reduction="sum")


def batches(
    segments: Sequence[Segment], tokens: int, rng: np.random.Generator | None = None
) -> Iterator[list[Segment]]:
    """Segments of similar length together, as many as `tokens` hold; in random order if there is a generator."""
    length = np.array([len(s.ids) for s in segments])
    order = np.argsort(length if rng is None else length * rng.uniform(0.9, 1.1, len(length)), kind="stable")
    found: list[list[int]] = [[]]
    for i in order.tolist():
        if found[-1] and max(length[[*found[-1], i]]) * (len(found[-1]) + 1) > tokens:
            found.append([])
        found[-1].append(i)
    if rng is not None:
        rng.shuffle(found)
    return ([segments[i] for i in part] for part in found)


def _forever(segments: Sequence[Segment], tokens: int, rng: np.random.Generator) -> Iterator[list[Segment]]:
    while True:
        yield from batches(segments, tokens, rng)
