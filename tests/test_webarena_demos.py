"""Generated web tasks, the experts that do them, their demonstrations, and the actions read off a page."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bench.agents.cloning import read_demonstrations
from tasks.webarena.actions import Action, ActionError, parse_action
from tasks.webarena.canonical import NO_ELEMENT, NONE, canonical_webarena, raw_webarena
from tasks.webarena.configs import WebTask, read_configs, write_configs
from tasks.webarena.demos import REPLAYS, replay
from tasks.webarena.demos import generate as demonstrate
from tasks.webarena.environment import STEP_LIMIT, WebEnvironment
from tasks.webarena.experts import Act, noise_event, plan, render
from tasks.webarena.exploration import exploratory_actions, listed
from tasks.webarena.generator import TASKS_PER_WORLD, TEMPLATES, generate
from tasks.webarena.recipe import EVALUATION, RECIPE

TASKS = generate("train", 120)
PAGE = (
    "Tab 0 (current): Mug\n\n[3] RootWebArea 'Mug' focused: True\n\t[4] link \"Ann's cup\"\n\t[7] heading 'Mug'\n"
    "\t[9] StaticText 'Price: $41'\n\t[11] StaticText 'Status: shipped'\n\t[12] textbox 'Search' required: False\n"
    "\t[15] button 'Search'\n\t[16] StaticText 'by Klara'"
)


def kind(task: WebTask) -> str:
    return TEMPLATES[task.intent_template_id - 1].name


def test_tasks_are_webarena_configs_of_every_kind(tmp_path: Path) -> None:
    write_configs(TASKS, tmp_path / "tasks.json")
    assert tuple(read_configs(tmp_path / "tasks.json")) == TASKS
    assert Counter(map(kind, TASKS)) == dict.fromkeys((t.name for t in TEMPLATES), 8)
    assert {t for task in TASKS for t in task.eval.eval_types} == {"string_match", "url_match", "program_html"}
    assert not any(task.unplayable() or "{{" in task.intent for task in TASKS)
    assert {len(names) for names in _by_world().values()} == {TASKS_PER_WORLD}


def _by_world() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for task in TASKS:
        found.setdefault(task.world, []).append(task.instance)
    return found


def test_tasks_repeat_and_splits_share_no_world() -> None:
    assert generate("train", 120) == TASKS
    assert generate("train", 7) == TASKS[:7]
    assert generate("train", 15, seed=1) != TASKS[:15]
    evaluation = generate("evaluation", EVALUATION)
    assert not {t.world for t in evaluation} & {t.world for t in TASKS}
    assert len({t.instance for t in evaluation}) == EVALUATION
    assert [t.intent for t in evaluation[:15]] != [t.intent for t in TASKS[:15]]


@pytest.mark.parametrize("mix", ["a", "b"])
def test_an_undisturbed_expert_does_every_task(mix: str) -> None:
    for task in TASKS:
        demo = replay(task, mix, 0, 0, noisy=False)
        assert demo is not None and demo["score"] == 1.0, task.intent
        assert len(demo["steps"]) == len(plan(task, mix)) <= STEP_LIMIT - 4
        assert all(step["clone"] for step in demo["steps"])


def test_stopping_at_once_does_none_of_them() -> None:
    for task in TASKS[:30]:
        env = WebEnvironment([task], np.random.default_rng(0))
        for answer in ("", "done"):
            env.reset(task.instance)
            assert env.step(f"stop [{answer}]")[1:] == (0.0, True), task.intent


def test_the_experts_differ_in_ways_and_habits() -> None:
    by_kind = {kind(task): task for task in TASKS[:15]}
    ways = {name: [plan(by_kind[name], mix) for mix in "ab"] for name in by_kind}
    assert [act.verb for act in ways["price"][0]] == ["type", "click", "stop"]
    assert [act.verb for act in ways["price"][1]] == ["click", "click", "stop"]
    assert [act.verb for act in ways["comment"][1]] == ["click", "click", "type", "click", "stop"]
    assert [act.verb for act in ways["cancel"][1]] == ["click", "click", "hover", "click", "stop"]
    assert [way[-1].text for way in ways["cart"]] == ["", "done"]
    assert ways["bestseller"][0] == ways["bestseller"][1]
    with pytest.raises(ValueError, match="of no template"):
        plan(by_kind["price"].model_copy(update={"intent_template_id": None}), "a")


def test_acts_are_worded_for_the_page_they_are_seen_on() -> None:
    assert render(Act("click", "link", "Ann's cup"), PAGE) == "click [4]"
    assert render(Act("type", "textbox", "Search", "a b"), PAGE) == "type [12] [a b] [1]"
    assert render(Act("type", "textbox", "Search", "a b", enter=False), PAGE) == "type [12] [a b] [0]"
    assert render(Act("click", "button", "Buy"), PAGE) is None
    assert render(Act("stop"), PAGE) == "stop []"
    assert render(Act("stop", text="$4"), PAGE) == "stop [$4]"


@pytest.mark.parametrize("mix", ["a", "b"])
def test_demonstrations_succeed_repeat_and_can_be_read(mix: str, tmp_path: Path) -> None:
    asked = TASKS[:45]
    first = demonstrate(tmp_path / "one", mix, 0, asked)
    again = demonstrate(tmp_path / "two", mix, 0, asked)
    other = demonstrate(tmp_path / "three", mix, 1, asked)
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()
    demos = read_demonstrations([first])
    assert first.name == f"demos-{mix}.jsonl"
    assert len(demos) > 0.95 * REPLAYS * len(asked)
    for demo in demos:
        assert len(demo.episode) == len(demo.clone) <= STEP_LIMIT
        assert demo.episode.rewards.sum() == demo.episode.steps[-1].reward == 1.0
        assert demo.clone[-1]
    cloned = np.mean([c for d in demos for c in d.clone])
    assert 0.8 < cloned < 1.0
    ids = [set(re.findall(r"\[(\d+)\]", replay(asked[0], mix, 0, n)["steps"][0]["observation"])) for n in (0, 1)]
    assert ids[0] != ids[1]


def test_demonstrations_replay_exactly() -> None:
    for task in TASKS[:30]:
        demo = replay(task, "b", 3, 1)
        assert demo == replay(task, "b", 3, 1)
        if demo is not None:
            assert all(s["action"] == canonical_webarena(s["raw"], s["observation"]) != NONE for s in demo["steps"])
            named = [s for s in demo["steps"] if NO_ELEMENT not in s["action"]]
            acts = [(raw_webarena(s["action"], s["observation"]), s["raw"]) for s in named]
            assert all(parse_action(one) == parse_action(other) for one, other in acts)
            assert all(s in named for s in demo["steps"] if s["clone"] or s["action"].startswith("type"))


def test_mistakes_change_nothing_or_are_undone() -> None:
    task = next(task for task in TASKS if kind(task) == "reprice")
    rng = np.random.default_rng(0)
    kinds: Counter[str] = Counter()
    for _ in range(120):
        env = WebEnvironment([task], rng)
        _, observation = env.reset(task.instance)
        event = noise_event(rng, observation, plan(task, "a")[0])
        kinds[event[0].split(" ")[0]] += 1
        for action in event:
            after, reward, done = env.step(action)
            assert (reward, done) == (0.0, False)
        assert re.sub(r"\[\d+\]| focused: True", "", after) == re.sub(r"\[\d+\]| focused: True", "", observation)
    assert kinds.keys() == {"click", "type", "hover", "scroll"}


def test_pages_are_read() -> None:
    page = listed(PAGE)
    assert [(e.id, e.role, e.name) for e in page.elements] == [
        ("4", "link", "Ann's cup"),
        ("12", "textbox", "Search"),
        ("15", "button", "Search"),
    ]
    assert page.texts == ("Ann's cup", "Mug", "Price: $41", "Status: shipped", "by Klara")
    assert listed("nothing at all").elements == ()


def test_exploratory_actions_follow_goal_and_page() -> None:
    found = exploratory_actions('Comment "So true." on the Noble Bench 12.', ["an older page", PAGE])
    typed = [f"type [12] [{text}] [1]" for text in ("12", "Noble Bench", "So true.")]
    stops = [f"stop [{v}]" for v in ("$41", "", "Ann", "Klara", "Mug", "Price", "Status", "shipped")]
    assert found == tuple(sorted([*typed, *stops, "click [15]", "click [4]", "go_back"]))
    named = exploratory_actions('Comment "So true." on the Noble Bench 12.', ["an older page", PAGE], named=True)
    assert set(named) == {canonical_webarena(action, PAGE) for action in found}
    assert exploratory_actions("Do it.", []) == ("go_back", "stop []")
    assert exploratory_actions("Do it.", ["..."]) == ("go_back", "stop []")


def test_exploratory_actions_cover_what_the_first_expert_does() -> None:
    sizes = []
    for task in TASKS:
        seen: list[str] = []
        for step in replay(task, "a", 0, 0, noisy=False)["steps"]:
            seen.append(step["observation"])
            offered = exploratory_actions(task.intent, seen, named=True)
            assert step["action"] in offered
            sizes.append(len(offered))
    assert max(sizes) <= 45


def test_exploratory_actions_are_fast() -> None:
    exploratory_actions("Do it.", [PAGE])
    start = time.process_time()
    for _ in range(200):
        exploratory_actions("Do it.", [PAGE])
    assert (time.process_time() - start) / 200 < 1e-3


def test_the_recipe_is_complete() -> None:
    assert len(RECIPE.instances) == len(set(RECIPE.instances)) == EVALUATION
    assert len(RECIPE.targets) >= 12 and not {c.name for c in RECIPE.targets} & set(RECIPE.loggers)
    samplers = {(c.checkpoint, c.temperature, c.epsilon) for c in RECIPE.targets}
    logging = {(c.checkpoint, c.temperature, c.epsilon) for c in RECIPE.policies if c.name in RECIPE.loggers}
    assert len(samplers) == len(RECIPE.targets) and not samplers & logging
    shares = {int(c.checkpoint.split("-")[1]) / 100 for c in RECIPE.policies}
    assert shares <= set(RECIPE.cloning.checkpoints)
    env, another = RECIPE.environment(), RECIPE.environment()
    for instance in (RECIPE.instances[0], RECIPE.instances[-1]):
        RECIPE.seed(env, 7)
        goal, page = env.reset(instance)
        RECIPE.seed(another, 8)
        assert another.reset(instance)[0] == goal
        assert another.reset(instance)[1] != page  # other ids
        RECIPE.seed(another, 7)
        assert another.reset(instance) == (goal, page)
        assert all(env.step(action)[1] == 0 for action in RECIPE.explore(goal, [page])[:3])


def test_agents_that_act_by_name_do_the_tasks() -> None:
    """The demonstrations' normal forms, on pages with other ids than those they were written for."""
    env = WebEnvironment(TASKS[:30], np.random.default_rng(5), by_name=True)
    for task in TASKS[:30]:
        env.reset(task.instance)
        steps = [env.step(step["action"]) for step in replay(task, "b", 0, 0, noisy=False)["steps"]]
        assert steps[-1][1:] == (1.0, True), task.intent


def test_a_normal_form_that_names_nothing_on_the_page_is_no_action() -> None:
    for text in ("click link 'Cup'", "click [4]", "type textbox 'Search'", "click link 'Mug' 'x' [1]", "type button"):
        assert parse_or_none(raw_webarena(text, PAGE)) is None, text
    assert raw_webarena('click link "Ann\'s cup"', PAGE) == "click [4]"
    assert raw_webarena("type textbox 'Search' 'a b'", PAGE) == "type [12] [a b] [1]"
    assert raw_webarena("stop '$4'", PAGE) == "stop [$4]" and raw_webarena("go_back", PAGE) == "go_back"


def parse_or_none(text: str) -> Action | None:
    try:
        return parse_action(text)
    except ActionError:
        return None
