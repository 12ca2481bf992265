"""One fit per job, named random streams, scores shared; whatever an estimator does wrong becomes a record."""

from __future__ import annotations

import numpy as np
import pytest

from bench import material
from bench.plan import Selection, missing, plan
from bench.provenance import take_provenance
from bench.runner import run
from bench.store import Store
from tests.house import WEIGHTED, constant

FOUR = ("bold", "fair", "shy", "unmeasured")


BOTH = ("pooled", "far")


def compute(house, jobs=None, folder="results", logs=BOTH, **selection):
    store = Store(house.root / folder)
    jobs = plan(Selection(n=60, logs=logs, **selection)) if jobs is None else jobs
    outcome = run(missing(jobs, store), store.results, take_provenance(), "serial", 1)
    return outcome, {(r.cell.log, r.spec, r.cell.policy): r for r in store.records()}


def values(records):
    return {key: (r.value, r.ci_low, r.ci_high) for key, r in records.items()}


def test_a_record_says_all_there_is_to_say(move_in):
    house = move_in({"weighted": WEIGHTED})
    outcome, records = compute(house, estimators=("weighted[]",), logs=("pooled",))
    assert outcome.counts == {"done": 4} and not outcome.interrupted
    record = records["pooled", "weighted", "fair"]
    assert record.ci_low < record.value < record.ci_high
    assert record.policy_tags == ["epsilon_sweep"] and records["pooled", "weighted", "bold"].policy_tags == []
    assert record.diagnostics == {"ess": 1.0, "odd": None}
    assert record.truth_episodes == 30 and record.truth_stderr > 0 and 0 < record.truth < 1
    assert record.fit_seconds > 0 and record.estimate_seconds > 0 and record.peak_memory_mb > 10
    assert record.provenance.source and record.provenance.packages["numpy"] == np.__version__
    replicates = Store(house.results).replicates(record)
    assert np.quantile(replicates, 0.025) == pytest.approx(record.ci_low, abs=1e-6) and len(replicates) == 400


def test_preparing_for_a_policy_is_timed_apart(move_in):
    slow = """
    def prepare(self, policy):
        time.sleep(0.3)

    def fit("""
    _, records = compute(move_in({"weighted": WEIGHTED.replace("\n    def fit(", slow, 1)}))
    record = records["pooled", "weighted", "fair"]
    assert record.fit_seconds < 0.3 <= record.prepare_seconds and record.estimate_seconds < 0.3
    assert record.preparation_seconds == record.prepare_seconds
    record.diagnostics["adapter_seconds_per_policy"] = 60.0  # what it took when it was made
    assert record.preparation_seconds == 60.0 and record.training_seconds == record.fit_seconds


def test_a_target_without_measured_truth_keeps_its_estimate(move_in):
    _, records = compute(move_in({"weighted": WEIGHTED}))
    record = records["pooled", "weighted", "unmeasured"]
    assert record.status == "done" and record.value is not None
    assert record.truth is record.truth_stderr is record.truth_episodes is None


def test_numbers_do_not_depend_on_the_order_of_execution_or_on_what_else_is_run(move_in):
    house = move_in({"weighted": WEIGHTED})
    _, forward = compute(house)
    jobs = plan(Selection(n=60, logs=BOTH))[::-1]
    _, backward = compute(house, jobs=jobs, folder="backward")
    _, alone = compute(house, folder="alone", policies=("shy",), estimators=("weighted[scale=0.5]",), logs=("far",))
    assert values(backward) == values(forward)
    key = ("far", "weighted[scale=0.5]", "shy")
    assert values(alone) == {key: values(forward)[key]}


def test_fits_differ_between_variants_while_policies_meet_the_same_noise(move_in):
    source = constant(
        "return Estimate(self.noise_ + rng.normal(size=(6, 1)), mean_of_terms, np.arange(6))",
        "self.noise_ = rng.normal()",
    )
    house = move_in({"noise": source.replace("factor: float", 'variants = ("", "factor=2.0")\n    factor: float')})
    _, records = compute(house, logs=("pooled",))
    by_spec = {spec: {r.value for r in records.values() if r.spec == spec} for spec in ("noise", "noise[factor=2.0]")}
    assert [len(found) for found in by_spec.values()] == [1, 1]
    assert by_spec["noise"] != by_spec["noise[factor=2.0]"]


def test_one_fit_serves_all_policies(move_in):
    house = move_in({"counted": constant(fit="open('fits', 'a').write('x')")})
    compute(house)
    assert (house.root / "fits").read_text() == "x" * 2  # one per log


def test_a_policy_scores_a_block_once_for_all_estimators(move_in, monkeypatch):
    house = move_in({"weighted": WEIGHTED, "again": WEIGHTED.replace("class Weighted", "class Again")})
    caller = type(material.task("coins").policy("bold"))
    scored, original = [], caller.log_prob_episodes

    def count(self, trajectories):
        scored.append((self.name, len(trajectories), trajectories[0].id.split("/")[0]))
        return original(self, trajectories)

    monkeypatch.setattr(caller, "log_prob_episodes", count)
    compute(house)
    assert sorted(scored) == sorted((name, 60, log) for name in FOUR for log in ("pooled", "far"))


def test_shared_scores_are_read_only_and_other_episodes_go_to_the_policy(move_in):
    move_in({})
    block = material.block("coins", "pooled", 20, 0)
    policy = material.policy("coins", "pooled", 20, 0, "bold")
    part = block.trajectories[3:5]
    own = policy.log_prob_episodes(part)
    with pytest.raises(ValueError, match="read-only"):
        own[0][0] = 0.0
    foreign = material.block("coins", "far", 20, 0).trajectories
    plain = material.task("coins").policy("bold")
    for episodes in (part, foreign, (*part, *foreign)):
        for a, b in zip(policy.log_prob_episodes(episodes), plain.log_prob_episodes(episodes), strict=True):
            np.testing.assert_array_equal(a, b)


def test_shared_scores_offer_what_the_policy_offers_and_nothing_else(move_in):
    move_in({})
    material.task("coins").policy("bold").__class__.embeddings = property(lambda self: "soft tokens")
    policy = material.policy("coins", "pooled", 20, 0, "bold")
    assert policy.name == "bold" and policy.embeddings == "soft tokens"
    assert not hasattr(policy, "gradient") and not hasattr(policy, "_hidden")


@pytest.mark.parametrize("place", ["fit", "estimate"])
def test_a_failure_keeps_its_traceback_costs_nobody_else_and_is_retried(move_in, place):
    code = "open('tries', 'a').write('x'); raise ValueError('bad luck')"
    broken = constant(**{"fit" if place == "fit" else "body": code})
    house = move_in({"broken": broken, "weighted": WEIGHTED})
    outcome, records = compute(house, logs=("pooled",))
    assert outcome.counts == {"done": 8, "failed": 4}
    record = records["pooled", "broken", "bold"]
    assert record.status == "failed" and record.value is None and record.ci_low is None
    assert (
        record.reason.startswith("Traceback")
        and "ValueError: bad luck" in record.reason
        and "broken.py" in record.reason
    )
    assert len((house.root / "tries").read_text()) == (1 if place == "fit" else 4)

    house.write_estimator("broken", constant())
    outcome, records = compute(house, logs=("pooled",))
    assert outcome.counts == {"done": 4} and {r.status for r in records.values()} == {"done"}


def test_declining_is_not_failing_and_is_not_retried(move_in):
    picky = constant("if policy.name == 'shy': raise UnsupportedError('too shy for me')")
    house = move_in({"picky": picky.replace("def fit", UNSUPPORTED_FAIR + "\n    def fit")})
    outcome, records = compute(house, logs=("pooled",))
    assert outcome.counts == {"done": 2, "unsupported": 2}
    assert records["pooled", "picky", "shy"].reason == "too shy for me"
    assert records["pooled", "picky", "fair"].reason == "nothing is fair"
    assert records["pooled", "picky", "fair"].value is None
    assert missing(plan(Selection(n=60, logs=("pooled",))), Store(house.results)) == []


UNSUPPORTED_FAIR = """def unsupported(self, data, policy):
        return "nothing is fair" if policy.name == "fair" else None
"""


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_number_that_is_none_is_a_failure(move_in, number):
    house = move_in({"odd": constant(f"return Estimate(np.full((6, 1), np.{number}), mean_of_terms, np.arange(6))")})
    outcome, records = compute(house, policies=("bold",), logs=("pooled",))
    assert outcome.counts == {"failed": 1}
    assert f"the estimate is {number}" in records["pooled", "odd", "bold"].reason


@pytest.mark.parametrize(("share", "has_interval"), [(0.01, True), (0.5, False)])
def test_an_interval_is_given_only_where_resamples_define_one(move_in, share, has_interval):
    combine = f"""
def sometimes(terms, counts):
    values = mean_of_terms(terms, counts)
    values[: int({share} * len(values))] = np.nan
    return values

@dataclass"""
    body = "return Estimate(self.data_.columns.returns(1.0)[:, None], sometimes, self.data_.columns.instance)"
    house = move_in({"sometimes": constant(body).replace("\n@dataclass", combine, 1)})
    _, records = compute(house, policies=("bold",), logs=("pooled",))
    record = records["pooled", "sometimes", "bold"]
    assert record.status == "done" and (record.ci_low is not None) == (record.ci_high is not None) == has_interval
    assert f"{int(share * 400)} of 400 resamples leave the estimator undefined" in record.note


def test_seeds_are_disjoint_blocks_shared_by_all_estimators(move_in):
    source = constant(
        "Path(f'seen_{type(self).__name__}').open('a').write(' '.join(t.id for t in self.data_.trajectories) + chr(10))"
    )
    house = move_in({"one": source, "two": source.replace("class Constant", "class Two")})
    compute(house, policies=("bold",), logs=("pooled",), seeds=(0, 1))
    seen = [
        [set(line.split()) for line in (house.root / f"seen_{n}").read_text().splitlines()] for n in ("Constant", "Two")
    ]
    assert seen[0] == seen[1] and len(seen[0]) == 2 and not seen[0][0] & seen[0][1]
