"""One's own agent on one's own log: from a Python file, or a chat model from Hugging Face."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench import registry
from bench.agents.chat import ChatFormat, ChatTranscript, chat_policy
from bench.canonical import write_jsonl
from bench.data import LoggedDataset, Step, Trajectory
from bench.errors import BenchError, UnsupportedError
from bench.own_agent import Agent, as_table, check_agent, judge_agent, logged_share, unbalanced
from bench.policy import Context, log_prob, opened

ROOT = Path(__file__).parents[1]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FORM = ChatFormat(system="You act.", instruction="Task: {goal}", max_action_tokens=24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny chat model with random weights, saved as Hugging Face saves them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["open the door", "user assistant system", "go to the kitchen"] * 3, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    fast.chat_template = CHATML
    path = tmp_path_factory.mktemp("chat") / "tiny-chat"
    fast.save_pretrained(path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48)
        LlamaForCausalLM(LlamaConfig(vocab_size=len(fast), initializer_range=0.3, **shape)).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def agent(folder):
    return chat_policy("tiny", folder, FORM, temperature=0.7)


EPISODE = Trajectory(
    "1", "door", "open the door", (Step("You stand.", "go <|im_end|> on", 0.0), Step("A door.", "open", 1.0)), None
)


def test_a_chat_model_is_scored_as_its_template_writes_the_conversation(agent):
    model, tokenizer = agent.lm.model, agent.lm.transcript.tokenizer
    segments = [
        ("<|im_start|>system\nYou act.<|im_end|>\n<|im_start|>user\n", False),
        ("Task: open the door", True),
        ("<|im_end|>\n<|im_start|>assistant\n", False),
        ("OK", True),
        ("<|im_end|>", False),
        ("\n<|im_start|>user\n", False),
        ("You stand.", True),
        ("<|im_end|>\n<|im_start|>assistant\n", False),
    ]
    ids = []
    for part, plain in segments:
        ids += tokenizer(part, add_special_tokens=False, split_special_tokens=plain)["input_ids"]
    action = tokenizer("go <|im_end|> on", add_special_tokens=False, split_special_tokens=True)["input_ids"]
    action.append(tokenizer.convert_tokens_to_ids("<|im_end|>"))
    with torch.no_grad():
        logits = model(torch.tensor([ids + action])).logits[0, len(ids) - 1 : -1] / 0.7
    logits[:, [tokenizer.convert_tokens_to_ids(t) for t in ("<|endoftext|>", "<|im_start|>")]] = -torch.inf
    logits[0, action[-1]] = -torch.inf
    expected = logits.log_softmax(-1).gather(-1, torch.tensor(action)[:, None]).sum().item()
    assert agent.log_prob_episodes([EPISODE])[0][0] == pytest.approx(expected, abs=1e-4)


def test_what_a_chat_model_samples_has_the_probability_it_says(agent):
    session = agent.start(["open the door", "go"], [1, 2])
    first = session.step(["You stand.", "Dark."])
    second = session.step(["A door.", None])
    decisions = (("You stand.", first[0]), ("A door.", second[0]))
    steps = tuple(Step(seen, d.action, 0.0, d.tokens) for seen, d in decisions)
    scored = agent.log_prob_episodes([Trajectory("1", "x", "open the door", steps, None)])[0]
    assert scored == pytest.approx([first[0].log_prob, second[0].log_prob], abs=1e-4)
    assert second[1] is None and len(first[0].tokens) <= 24


def test_a_chat_model_is_a_white_box(agent):
    inside = opened(agent).white_box
    soft = [torch.zeros(2, 3, inside.size, requires_grad=True)]
    inside.action_states([EPISODE], soft).sum().backward()
    assert soft[0].grad[1].abs().sum() > 0


def test_a_template_whose_turns_differ_is_refused(folder):
    transcript = chat_policy("x", folder).lm.transcript
    tokenizer = transcript.tokenizer
    tokenizer.chat_template = "{% for m in messages %}{{ loop.index }}{{ m.content }}<|im_end|>{% endfor %}"
    with pytest.raises(BenchError, match="every turn alike"):
        ChatTranscript(tokenizer)
    tokenizer.chat_template = None
    with pytest.raises(BenchError, match="no chat template"):
        ChatTranscript(tokenizer)
    with pytest.raises(BenchError, match="goal"):
        tokenizer.chat_template = CHATML
        ChatTranscript(tokenizer, ChatFormat(instruction="act"))


def test_a_model_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(BenchError, match="cannot be loaded"):
        Agent(str(tmp_path)).load()
    with pytest.raises(BenchError, match="no such file"):
        Agent("nowhere.py:agent").load()


@pytest.fixture(scope="module")
def log():
    return registry.task("toy_chain").log("pooled").subset(300, 0)


@pytest.fixture(scope="module")
def own(tmp_path_factory, log):
    """A log and an agent in files, as somebody would bring them."""
    folder = tmp_path_factory.mktemp("own")
    write_jsonl(log, folder / "log.jsonl")
    (folder / "my_agent.py").write_text(
        "from bench import registry\n\n\ndef make():\n    return registry.task('toy_chain').policy('expert')\n"
    )
    return folder


def test_the_command_judges_an_agent_from_a_file(own):
    command = [sys.executable, "run_bench.py", "estimate", str(own / "log.jsonl")]
    command += ["--agent", f"{own}/my_agent.py:make"]
    command += [
        "--estimator",
        "importance_sampling",
        "--estimator",
        "behavior_average[]",
        "--out",
        str(own / "out.json"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "effective episodes" in done.stdout and "their own mean return" in done.stdout
    records = json.loads((own / "out.json").read_text())
    weighted = next(r for r in records if r["spec"] == "importance_sampling[per_decision=true]")
    truth = registry.task("toy_chain").truth("expert").mean
    assert weighted["ci_low"] - 0.05 < truth < weighted["ci_high"] + 0.05


class Silent:
    """An agent behind an interface that tells no probabilities."""

    name = "silent"

    def __init__(self, values):
        self.values = values

    def log_prob_episodes(self, trajectories):
        return [self.values[: len(t)] for t in trajectories]

    def next_actions(self, trajectories, n, seed):
        raise NotImplementedError

    def start(self, goals, seeds):
        raise NotImplementedError


def test_answers_that_are_no_log_probabilities_are_refused(log):
    for values, words in ((np.full(99, 0.5), "no log-probabilities"), (np.zeros((99, 2)), "shape")):
        with pytest.raises(BenchError, match=words):
            check_agent(Silent(values), log)
    with pytest.raises(BenchError, match="lacks name"):
        check_agent(object(), log)


def test_failures_and_refusals_are_said_in_the_table(log):
    bare = log.with_trajectories(map(_without_propensities, log.trajectories))
    records = judge_agent(Silent(np.zeros(99)), bare, "log", ["importance_sampling[]", "retrieval_wm"])
    assert [r.status for r in records] == ["unsupported", "failed"]
    text = as_table(records, bare)
    assert "declined: " in text and "failed: NotImplementedError" in text


def _without_propensities(t: Trajectory) -> Trajectory:
    steps = tuple(Step(s.observation, s.action, s.reward) for s in t.steps)
    return Trajectory(t.id, t.instance, t.goal, steps, t.final_observation, t.terminated, t.truncated, t.logger)


def test_one_context_is_scored_like_an_episode(agent):
    context = Context("open the door", (("You stand.", "go <|im_end|> on"),), "A door.")
    assert log_prob(agent, [context], ["open"])[0] == pytest.approx(agent.log_prob_episodes([EPISODE])[0][1], abs=1e-4)


def test_the_agent_of_the_page_is_judged(tmp_path):
    page = (ROOT / "docs" / "evaluate-your-agent.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    (tmp_path / "cautious.py").write_text(code)
    told = page.split("```json\n")[1].split("```")[0]
    assert set(json.loads(told)) == set(ChatFormat.__dataclass_fields__)
    steps = [Step("A door.", a, r, behavior_logp=-0.7) for a, r in (("look", 0.0), ("open door", 1.0))]
    episodes = tuple(
        Trajectory(str(k), f"room {k % 5}", "get out", tuple(steps[j] for j in order), "Out.", True, False, "old")
        for k, order in enumerate([(0, 1), (0, 0, 1), (0, 0, 0, 1)] * 20)
    )
    data = LoggedDataset("doors", ("old",), 1.0, 4, episodes)
    policy = Agent(f"{tmp_path}/cautious.py:make").load()
    records = judge_agent(policy, data, "log", ["importance_sampling[]", "retrieval_wm"])
    assert {r.status for r in records} == {"done"}, as_table(records, data)


def test_an_agent_without_probabilities_is_judged_by_those_who_need_none(log):
    class Mute:
        name = "mute"

        def log_prob_episodes(self, trajectories):
            raise UnsupportedError("the API tells no probabilities")

        def next_actions(self, trajectories, n, seed):
            return [[("dance",) * n for _ in t.steps] for t in trajectories]

        def start(self, goals, seeds):
            raise NotImplementedError

    records = judge_agent(Mute(), log, "log", ["importance_sampling[]", "behavior_average[]"])
    assert {r.spec: r.status for r in records} == {"importance_sampling": "unsupported", "behavior_average": "done"}
    Mute.next_actions, known = Mute.start, Mute.next_actions
    assert "does not say what it would do" in as_table(records, log, logged_share(Mute(), log))
    Mute.next_actions = known
    text = as_table(records, log, logged_share(Mute(), log))
    assert "0% occur anywhere in the log" in text and "WARNING" in text and "the API tells no probabilities" in text


def test_logs_that_favor_instances_or_confound_them_with_loggers_are_named():
    def log(*plan):
        episodes = [
            Trajectory(f"{i}", where, "g", (Step("o", "a", 1.0, behavior_logp=0.0),), None, True, False, who)
            for i, (where, who) in enumerate(plan)
        ]
        return LoggedDataset("t", ("x", "y"), 1.0, 1, tuple(episodes), fixed_instances=True)

    assert unbalanced(log(("1", "x"), ("1", "y"), ("2", "x"), ("2", "y"))) == []
    (note,) = unbalanced(log(*[("1", "x"), ("1", "y")] * 2, ("2", "x"), ("2", "y")))
    assert "unequally often" in note
    (note,) = unbalanced(log(("1", "x"), ("1", "x"), ("2", "y"), ("2", "y")))
    assert "balanced=true" in note


def test_a_temperature_that_cannot_be_is_refused_before_the_model_is_loaded():
    with pytest.raises(BenchError, match="--temperature 0"):
        Agent("no-such-model", temperature=0.0).load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def make(:", r"line 1.*SyntaxError"),
        ("def make():\n    raise KeyError('x')", r"make\(\) fails: line 2: KeyError"),
        ("import json as make", "neither a policy nor a function"),
    ],
)
def test_a_mistake_in_the_file_of_an_agent_is_one_clear_error(tmp_path, text, message):
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(BenchError, match=message):
        Agent(f"{tmp_path}/broken.py:make").load()
    with pytest.raises(BenchError, match="FILE.py:NAME"):
        Agent(f"{tmp_path}/broken.py").load()


def test_too_few_answers_of_an_agent_are_one_clear_error(log):
    class Short:
        name = "short"

        def log_prob_episodes(self, trajectories):
            return []

        def next_actions(self, trajectories, n, seed): ...

        def start(self, goals, seeds): ...

    with pytest.raises(BenchError, match="0 arrays of log-probabilities for 2 episodes"):
        check_agent(Short(), log)
