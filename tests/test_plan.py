"""From a selection to jobs: the grid is what was asked for, and planning reads no log."""

from __future__ import annotations

import pytest

from bench import registry
from bench.errors import BenchError, UnknownNameError
from bench.plan import Selection, chosen_targets, matching, plan
from bench.task import PolicyCard
from tests.house import WEIGHTED, constant

COSTLY = constant().replace("factor: float", "size_curve = False\n    factor: float")


@pytest.fixture
def house(move_in):
    return move_in({"weighted": WEIGHTED, "costly": COSTLY})


def cells(jobs):
    return [cell for job in jobs for cell in job.cells]


def test_quick_is_one_seed_of_300_episodes_of_the_pooled_log(house):
    jobs = plan(Selection())
    assert {(j.log, j.n, j.seed) for j in jobs} == {("pooled", 300, 0)}
    assert {j.spec for j in jobs} == {"weighted", "weighted[scale=0.5]", "costly"}


def test_published_runs_the_size_curve_for_those_who_are_on_it(house):
    jobs = plan(Selection("published"))
    blocks = {spec: {(j.log, j.n, j.seed) for j in jobs if j.spec == spec} for spec in ("weighted", "costly")}
    full = {("pooled", 1000, 0), ("pooled", 1000, 1), ("pooled", 1000, 2), ("far", 1000, 0)}
    assert blocks["costly"] == full
    assert blocks["weighted"] == full | {("pooled", n, seed) for n in (100, 300) for seed in (0, 1, 2)}


def test_seeds_that_a_short_log_has_no_episodes_for_are_left_out_and_errors_where_asked_for(house, monkeypatch):
    monkeypatch.setattr(type(registry.task("coins")), "log_size", lambda self, name: 1500)
    assert {(j.n, j.seed) for j in plan(Selection("published", logs=("pooled",), estimators=("costly",)))} == {
        (1000, 0)
    }
    asked = plan(Selection("published", logs=("pooled",), seeds=(0, 1)))
    assert {(j.n, j.seed) for j in asked} == {(1000, 0)} | {(n, seed) for n in (300, 100) for seed in (0, 1)}
    with pytest.raises(BenchError, match=r"--seed 1: log 'pooled' .* holds 1,500 episodes, blocks 0 to 0 of"):
        plan(Selection("published", logs=("pooled",), estimators=("costly",), n=1000, seeds=(1,)))


def test_a_cell_knows_the_volumes_of_the_log_up_to_the_end_of_its_block(house, monkeypatch):
    monkeypatch.setattr(
        type(registry.task("coins")),
        "block_fingerprints",
        lambda self, name, ends: ["one" if end <= 1000 else "one+two" for end in ends],
    )
    jobs = plan(Selection("published", logs=("pooled",)))
    assert {(j.n, j.seed, c.data) for j in jobs for c in j.cells} == {
        (1000, 0, "one"),
        *((1000, seed, "one+two") for seed in (1, 2)),
        *((n, seed, "one") for n in (100, 300) for seed in (0, 1, 2)),
    }


def test_every_cell_has_a_key_of_its_own(house):
    keys = [cell.key for cell in cells(plan(Selection("published")))]
    assert len(set(keys)) == len(keys) == (2 * 10 + 4) * 4


def test_a_parameter_that_came_later_leaves_old_keys_alone(move_in):
    later = COSTLY.replace("    factor:", '    added = {"offset": 0.0}\n    offset: float = 0.0\n    factor:')
    move_in({"costly": COSTLY, "later": later})
    (before, neutral, other) = (
        cells(plan(Selection(estimators=(spec,)))) for spec in ("costly", "later[offset=0]", "later[offset=1]")
    )
    assert [cell.model_dump() for cell in neutral] == [{**cell.model_dump(), "estimator": "later"} for cell in before]
    assert other[0].params == {**before[0].params, "offset": 1.0}


def test_planning_reads_no_log_and_loads_no_policy(house, monkeypatch):
    task = registry.task("coins")
    for method in ("log", "policy", "truth"):
        monkeypatch.setattr(type(task), method, lambda self, name: pytest.fail("planning must not need this"))
    assert plan(Selection("published"))


def test_targets_are_spread_over_the_order_of_the_list():
    class Many:
        def targets(self):
            return tuple(PolicyCard(f"p{i}", "") for i in range(14))

    assert chosen_targets(Many(), Selection()) == ("p0", "p4", "p9", "p13")
    assert len(chosen_targets(Many(), Selection("published"))) == 14
    assert chosen_targets(Many(), Selection(policies=("p9", "p2"))) == ("p2", "p9")


def test_a_bare_name_means_its_variants_and_brackets_mean_exactly_that(house):
    def specs(*estimators):
        return {j.spec for j in plan(Selection(estimators=estimators))}

    assert specs("weighted") == {"weighted", "weighted[scale=0.5]"}
    assert specs("weighted[]") == {"weighted"}
    assert specs("weighted[ scale = 2 ]", "weighted[scale=2.0]") == {"weighted[scale=2.0]"}


def test_jobs_on_the_same_data_follow_each_other(house):
    blocks = [(j.task, j.log, j.n, j.seed) for j in plan(Selection("published"))]
    changes = sum(a != b for a, b in zip(blocks, blocks[1:], strict=False))
    assert changes == len(set(blocks)) - 1


def test_n_and_seed_replace_those_of_the_profile(house):
    jobs = plan(Selection("published", estimators=("costly",), n=50, seeds=(1, 4), logs=("far",)))
    assert {(j.log, j.n, j.seed) for j in jobs} == {("far", 50, 1), ("far", 50, 4)}


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (dict(tasks=("coin",)), "unknown task 'coin'. Did you mean 'coins'?"),
        (dict(estimators=("weigthed",)), "unknown estimator 'weigthed'. Did you mean 'weighted'?"),
        (dict(estimators=("weighted[skale=1]",)), "unknown parameter of weighted 'skale'. Did you mean 'scale'?"),
        (dict(estimators=("weighted[scale=x]",)), "'x' is not a float"),
        (dict(estimators=("weighted[scale",)), "cannot read the spec"),
        (dict(policies=("blod",)), "unknown policy 'blod'. Did you mean 'bold'?"),
        (dict(logs=("poold",)), "unknown log 'poold'. Did you mean 'pooled'?"),
        (dict(n=0), "at least 1 episode"),
        (dict(seeds=(-1,)), "count from 0"),
    ],
)
def test_what_does_not_exist_is_refused_with_a_suggestion(house, selection, message):
    with pytest.raises(BenchError) as error:
        plan(Selection(**selection))
    assert message in str(error.value)


def test_a_wrong_estimator_is_named_even_where_a_task_has_no_recording(house, monkeypatch):
    monkeypatch.setattr(type(registry.task("coins")), "targets", lambda self: pytest.fail("asked too early"))
    with pytest.raises(UnknownNameError, match="unknown estimator"):
        plan(Selection(estimators=("nobody",)))


def test_redo_finds_all_variants_of_a_name_and_one_of_a_spec(house):
    jobs = plan(Selection())
    assert {c.params["scale"] for c in matching(jobs, ["weighted"])} == {0.01, 0.5}
    assert {c.params["scale"] for c in matching(jobs, ["weighted[scale=0.5]"])} == {0.5}
    with pytest.raises(BenchError, match="holds no such estimator"):
        matching(jobs, ["weighted[scale=3]"])


def test_estimators_that_train_for_minutes_leave_the_quick_profile_unless_asked_for(move_in):
    slow = constant().replace("factor: float", "quick = False\n    factor: float")
    move_in({"weighted": WEIGHTED, "slow": slow})
    assert {j.spec for j in plan(Selection())} == {"weighted", "weighted[scale=0.5]"}
    assert "slow" in {j.spec for j in plan(Selection("published"))}
    assert {j.spec for j in plan(Selection(estimators=("slow",)))} == {"slow"}


def test_more_episodes_than_a_log_holds_are_an_error(house):
    with pytest.raises(BenchError, match=r"--n 1000000: log .* holds"):
        plan(Selection("quick", n=1_000_000, estimators=("costly",)))
