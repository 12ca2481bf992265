"""Language-model agents: what is sampled is what is scored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
)

from bench.agents.language_model import KeyValueBatch, LanguageModel
from bench.agents.lm_policy import LMPolicy
from bench.agents.next_actions import Place, sample_at
from bench.agents.transcript import END, MAX_ACTION_TOKENS, Transcript, train_tokenizer
from bench.data import Step, Trajectory
from bench.errors import BenchError
from bench.policy import Context, log_prob, sample
from tests.tiny_language_models import TEXTS, tiny_lm


def explore(goal, observations):
    return ("look around", "open the red door", f"turn {len(observations)}")


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def lm(request):
    return tiny_lm(request.param)


def play(policy, goals, seeds, lengths):
    """Rolls a policy against canned observations; episode i ends after lengths[i] steps."""
    session = policy.start(goals, seeds)
    steps = [[] for _ in goals]
    for t in range(max(lengths)):
        shown = [f"You see {t} apples. " * (1 + (i + t) % 3) if t < n else None for i, n in enumerate(lengths)]
        for i, decision in enumerate(session.step(shown)):
            assert (decision is None) == (shown[i] is None)
            if decision is not None:
                steps[i].append(Step(shown[i], decision.action, 0.0, decision.tokens, decision.log_prob))
    return [Trajectory(str(i), "x", g, tuple(s)) for i, (g, s) in enumerate(zip(goals, steps, strict=True))]


GOALS = ["go to the kitchen", "find a lamp", "open the red door", "a"]


@pytest.mark.parametrize(("temperature", "epsilon"), [(1.0, 0.0), (0.4, 0.0), (1.0, 0.3), (0.7, 1.0)])
def test_sampled_log_probs_equal_rescored_ones(lm, temperature, epsilon):
    policy = LMPolicy("p", lm, temperature, epsilon, explore)
    episodes = play(policy, GOALS, [1, 2, 3, 4], [5, 1, 3, 4])
    for episode, scored in zip(episodes, policy.log_prob_episodes(episodes), strict=True):
        assert scored == pytest.approx([s.behavior_logp for s in episode.steps], abs=1e-4)


def test_many_turns_squeeze_the_cache_without_changing_log_probs(lm):
    policy = LMPolicy("p", lm)
    lengths = [25, 24, 23, 22]
    session_episodes = play(policy, GOALS, [5, 6, 7, 8], lengths)
    for episode, scored in zip(session_episodes, policy.log_prob_episodes(session_episodes), strict=True):
        assert scored == pytest.approx([s.behavior_logp for s in episode.steps], abs=1e-4)


def test_an_episode_does_not_depend_on_its_batch(lm):
    policy = LMPolicy("p", lm, 1.0, 0.2, explore)
    together = play(policy, GOALS, [1, 2, 3, 4], [4, 4, 4, 4])
    alone = play(policy, GOALS[2:3], [3], [4])
    # the canned observations depend on the row, so compare the first decision, which sees the same text modulo row
    one = policy.start(GOALS, [1, 2, 3, 4]).step(["You see a lamp."] * 4)[2]
    other = policy.start(GOALS[2:3], [3]).step(["You see a lamp."])[0]
    assert one.action == other.action and one.log_prob == pytest.approx(other.log_prob, abs=1e-5)
    assert len(together) == 4 and len(alone) == 1


def test_an_action_cut_by_the_cap_is_scored_without_its_end(lm):
    policy = LMPolicy("p", lm)
    episodes = play(policy, GOALS * 8, list(range(32)), [2] * 32)
    cut = [s for e in episodes for s in e.steps if s.action_tokens[-1] != END]
    assert cut and all(len(s.action_tokens) == MAX_ACTION_TOKENS for s in cut)
    for episode, scored in zip(episodes, policy.log_prob_episodes(episodes), strict=True):
        assert scored == pytest.approx([s.behavior_logp for s in episode.steps], abs=1e-4)


def test_probabilities_of_one_token_actions_sum_to_less_than_one_and_match_frequencies(lm):
    policy = LMPolicy("p", lm, 0.5)
    context = Context("find a lamp", (), "You see a lamp.")
    step = Step(context.observation, "", 0.0)
    places = [
        Trajectory(str(i), str(i), context.goal, (step,)) for i in range(20)
    ]  # instances keep them from sharing samples
    drawn = [action for [actions] in policy.next_actions(places, 60, 0) for action in actions]
    names, counts = np.unique(drawn, return_counts=True)
    top = np.argsort(counts)[-5:]
    expected = np.exp(log_prob(policy, [context] * 5, [str(names[k]) for k in top]))
    frequency = counts[top] / len(drawn)
    error = np.sqrt(expected * (1 - expected) / len(drawn))
    # canonical probability is a lower bound: another tokenization can decode to the same text
    assert (frequency > expected - 4 * error).all()


def test_the_mixture_is_a_logsumexp_over_whole_actions(lm):
    base, mixed = LMPolicy("b", lm, 1.0), LMPolicy("m", lm, 1.0, 0.25, explore)
    contexts = [Context("find a lamp", (("You see a lamp.", "go"),), "You see 3 apples.")] * 3
    actions = ["look around", "turn 2", "turn 1"]
    p, q = np.exp(log_prob(base, contexts, actions)), np.exp(log_prob(mixed, contexts, actions))
    assert q == pytest.approx(0.75 * p + 0.25 * np.array([1 / 3, 1 / 3, 0.0]), rel=1e-5)


def test_shared_pasts_share_their_next_actions(lm):
    policy = LMPolicy("p", lm)
    steps = (Step("You see a lamp.", "go", 0.0), Step("You see 3 apples.", "open", 0.0))
    a, b = Trajectory("a", "x", "g", steps), Trajectory("b", "x", "g", steps)
    c = Trajectory("c", "x", "g", (steps[0], Step("You see a table", "open", 0.0)))
    first, second, third = policy.next_actions([a, b, c], 4, seed=3)
    assert first == second and third[0] == first[0] and third[1] != first[1]
    assert policy.next_actions([a, b, c], 4, seed=3)[2] == third


def test_sample_answers_one_action_per_context(lm):
    contexts = [Context("g", (("o", "go"),), "You see a lamp."), Context("g", (), "You see 3 apples.")]
    assert len(sample(LMPolicy("p", lm), contexts, seed=0)) == 2


def test_actions_too_long_to_be_written_are_impossible(lm):
    long = "z q x " * 40
    assert log_prob(LMPolicy("p", lm), [Context("g", (), "o")], [long])[0] == -np.inf


def test_streams_that_share_an_episode_write_what_each_would_write_alone(lm):
    [episode] = play(LMPolicy("p", lm), GOALS[:1], [9], [6])
    turns = [0, 2, 2, 5]

    def rngs(k):
        return tuple(np.random.default_rng([k, j]) for j in range(3))

    [together] = sample_at(lm, [episode], [[Place(turn, rngs(k)) for k, turn in enumerate(turns)]], 1.0)
    ids, spans = lm.transcript.episode(episode).ids, lm.transcript.episode(episode).spans
    for k, turn in enumerate(turns):
        batch = KeyValueBatch(lm, 3)
        batch.read([ids[: spans[turn][0]]] * 3)
        alone = batch.write(rngs(k), 1.0)
        assert together[k] == tuple(lm.transcript.decode(tokens) for tokens, _ in alone)


def test_an_action_as_long_as_the_cap_with_its_end_is_the_longest_that_is_written(lm):
    letters = [lm.transcript.encode(c)[0] for c in "zqx"]
    tokens = tuple(letters[i % 3] for i in range(MAX_ACTION_TOKENS))

    def scored(*ids):
        text = lm.transcript.decode(ids)
        return LMPolicy("p", lm).log_prob_episodes([Trajectory("e", "i", "g", (Step("o", text, 0.0, ids),), None)])[0][
            0
        ]

    assert np.isfinite(scored(*tokens[:-1], END)) and np.isfinite(scored(*tokens))  # the latter was cut
    assert scored(*tokens, END) == -np.inf
    cut, ended = (
        Trajectory("e", "i", "g", (Step("o", lm.transcript.decode(ids), 0.0, ids),), None)
        for ids in (tokens[:5], (*tokens[:5], END))
    )
    together = LMPolicy("p", lm).log_prob_episodes([cut, ended])  # one text, but not one event
    assert together[0][0] == pytest.approx(scored(*tokens[:5]), abs=1e-5)
    assert together[1][0] == pytest.approx(scored(*tokens[:5], END), abs=1e-5)


def test_tokens_of_another_tokenizer_are_not_taken_for_ones_own(lm):
    step = Step("o", "open the red door", 0.0, (*lm.transcript.encode("open the red door"), END))
    assert lm.transcript.action_of(step) == step.action_tokens
    for foreign in ((5000, END), (*lm.transcript.encode("go to the kitchen"), END)):
        other = Step("o", "open the red door", 0.0, foreign)
        assert lm.transcript.action_of(other) == lm.transcript.action("open the red door")


def test_what_looks_like_a_mark_in_a_text_is_text(lm):
    assert END not in lm.transcript.encode("say <end> and <act>")


SHAPE = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, intermediate_size=48)


@pytest.mark.parametrize(
    "build",
    [
        lambda v: CohereForCausalLM(CohereConfig(vocab_size=v, logit_scale=0.3, initializer_range=0.3, **SHAPE)),
        lambda v: GraniteForCausalLM(GraniteConfig(vocab_size=v, logits_scaling=4.0, initializer_range=0.3, **SHAPE)),
        lambda v: Gemma2ForCausalLM(
            Gemma2Config(vocab_size=v, final_logit_softcapping=3.0, initializer_range=0.3, head_dim=16, **SHAPE)
        ),
    ],
    ids=["cohere", "granite", "gemma2"],
)
def test_models_that_change_their_logits_at_the_end_are_scored_as_they_are(build):
    transcript = Transcript(train_tokenizer(TEXTS * 3, 320), max_observation_tokens=12)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(transcript.vocabulary).eval()
    action = transcript.action("open the red door")
    ids = [*transcript.opening("g"), *transcript.turn("o"), *action]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, len(ids) - len(action) - 1 : -1].float()
    logits[:, list(transcript.marks.banned)] = -torch.inf
    logits[0, END] = -torch.inf
    expected = float(logits.log_softmax(-1).gather(-1, torch.tensor(action)[:, None]).sum())
    policy = LMPolicy("p", LanguageModel(model, transcript))
    assert log_prob(policy, [Context("g", (), "o")], ["open the red door"])[0] == pytest.approx(expected, abs=1e-3)


def test_a_model_whose_logits_are_not_understood_is_refused(lm):
    class Odd(type(lm.model)):
        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            out.logits = out.logits**3
            return out

    odd = Odd(lm.model.config)
    with pytest.raises(BenchError, match="changes its logits"):
        LanguageModel(odd, lm.transcript)
