"""Agents that are chat models: their own chat template gives the transcript its form.

    system + instruction with the goal -> acknowledgement, then observation -> action, turn by turn

which is how trajectories for agent tuning are written (Zeng et al. 2023, "AgentTuning", arXiv 2310.12823; Song et al.
2024, "Trial and Error", arXiv 2403.02502). With it, any Hugging Face causal model with a chat template is an
`LMPolicy`: it scores and acts in batches, keeps its key-value cache, and opens its embeddings to world models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from bench.agents.language_model import LanguageModel
from bench.agents.lm_policy import LMPolicy
from bench.agents.transcript import Marks, Transcript
from bench.errors import BenchError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GOAL_FIELD = "{goal}"


@dataclass(frozen=True)
class ChatFormat:
    """What an agent is told, and how much it may read and write.

    Attributes:
        system: system prompt; empty for none.
        instruction: first user message; `{goal}` stands for the goal of the episode.
        acknowledgement: what the agent is made to answer to it.
        max_observation_tokens: longer observations lose their tail.
        max_action_tokens: longer actions are cut.
    """

    system: str = ""
    instruction: str = GOAL_FIELD
    acknowledgement: str = "OK"
    max_observation_tokens: int = 1024
    max_action_tokens: int = 256


class ChatTranscript(Transcript):
    """The transcript of a chat model. Segments are tokenized on their own, as everywhere here, so that tokens an agent
    sampled are the tokens that are scored; at the borders this may differ from tokenizing the whole conversation.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template.

    Raises:
        BenchError: no template, or one whose turns do not all look alike.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, form: ChatFormat = ChatFormat()):
        if not tokenizer.chat_template:
            raise BenchError("the tokenizer has no chat template: it is not known how this model writes conversations.")
        if GOAL_FIELD not in form.instruction:
            raise BenchError(f"the instruction must say where the goal stands, with {GOAL_FIELD}: {form.instruction!r}")
        super().__init__(tokenizer, form.max_observation_tokens)
        self.form, self.max_action_tokens = form, form.max_action_tokens
        head, middle, between = _template_parts(tokenizer, form.system)
        self._head, self._middle, closing = self._marked(head), self._marked(middle), self._marked(between)
        end = closing[0]
        if end not in tokenizer.all_special_ids and end not in tokenizer.added_tokens_decoder:
            raise BenchError(
                f"the chat template ends an answer with {between!r}, which does not begin with a special token."
            )
        banned = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        self.marks = Marks(closing[1:], self._middle, end, tuple(sorted(banned - {end})))

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return len(self.tokenizer)

    def opening(self, goal: str) -> tuple[int, ...]:
        """See `Transcript`: the instruction and its acknowledgement."""
        told = self.encode(self.form.instruction.replace(GOAL_FIELD, goal))
        return (*self._head, *told, *self._middle, *self.encode(self.form.acknowledgement), self.marks.end)

    def decode(self, tokens: Sequence[int]) -> str:
        """See `Transcript`."""
        return self.tokenizer.decode([t for t in tokens if t != self.marks.end], clean_up_tokenization_spaces=False)

    def _encode(self, text: str) -> tuple[int, ...]:
        """Text of goals, observations and actions: what looks like a special token in it is just text."""
        return tuple(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _marked(self, text: str) -> tuple[int, ...]:
        """Text of the template, special tokens included."""
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def chat_policy(
    name: str,
    model: str | Path,
    form: ChatFormat = ChatFormat(),
    temperature: float = 1.0,
    device: str = "cpu",
    dtype: str = "float32",
) -> LMPolicy:
    """An agent from a Hugging Face model, by folder or by name on the hub.

    Args:
        temperature: at which it samples; its log-probabilities are at the same one.
        device, dtype: where the model is computed and in what precision, by their names in torch.

    Raises:
        BenchError: not a model that can be loaded, no usable chat template, or no such device here.
    """
    disable_progress_bar()
    if str(model).startswith((".", "/", "~")) and not Path(model).exists():
        raise BenchError(f"{model}: there is no such folder.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        weights = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
    except (OSError, ValueError) as error:
        raise BenchError(f"{model}: cannot be loaded as a causal language model: {error}") from error
    try:
        weights = weights.to(device)
    except (RuntimeError, AssertionError) as error:  # the latter from builds of torch without CUDA
        raise BenchError(f"device {device!r} cannot hold the model: {str(error).splitlines()[0]}") from error
    return LMPolicy(name, LanguageModel(weights, ChatTranscript(tokenizer, form)), temperature)


def _template_parts(tokenizer: PreTrainedTokenizerBase, system: str) -> tuple[str, str, str]:
    """What the template writes before the first user message, between it and the answer, and between answer and next
    user message."""
    words = ["first question", "first answer", "second question", "second answer", "third question"]
    marked = [f"|{word}|" for word in words]
    roles = ["user", "assistant"] * 3
    messages = [{"role": role, "content": text} for role, text in zip(roles, marked, strict=False)]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    try:
        written = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except (TemplateError, TypeError, ValueError) as error:  # what a template raises, or stumbles over
        raise BenchError(f"the chat template refuses a conversation of questions and answers: {error}") from error
    parts = []
    for text in marked:
        part, found, written = written.partition(text)
        if not found:
            raise BenchError(f"the chat template does not keep messages as they are: {text!r} is missing.")
        parts.append(part)
    parts.append(written)
    head, middle, between = parts[:3]
    if parts[3] != middle or parts[4] != between or parts[5] != middle:
        raise BenchError(
            "the chat template does not write every turn alike, so that a transcript cannot grow turn by turn: "
            f"{parts[1:]}. Give the tokenizer a simpler one (`tokenizer.chat_template = ...`)."
        )
    return head, middle, between
