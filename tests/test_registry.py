"""Names come from files, specs rebuild what they name, and mistakes are answered with what there is."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from typing import Literal

import pytest

from bench import registry
from bench.errors import BenchError, UnknownNameError
from bench.estimator import Estimator
from bench.policy import Context, log_prob, sample

SOURCE = '''"""{summary}"""
from dataclasses import dataclass
from bench.estimator import Estimator

@dataclass
class {name}(Estimator):
    def fit(self, data, rng): return self
    def estimate(self, policy, rng): return None
'''


@dataclass
class Sampler(Estimator):
    """One field of each kind."""

    flag: bool = False
    count: int = 3
    rate: float = 0.5
    cap: float | None = None
    limit: int | None = 10
    mode: Literal["fast", "slow"] = "fast"
    label: str = ""

    def fit(self, data, rng):
        return self

    def estimate(self, policy, rng):
        raise NotImplementedError


@pytest.fixture
def sampler(monkeypatch):
    """A registered estimator with one field of each kind."""
    monkeypatch.setattr(Sampler, "name", "sampler")
    monkeypatch.setattr(registry, "estimator_class", lambda name: Sampler)


@pytest.mark.parametrize(
    ("spec", "name", "params"),
    [
        ("adwm", "adwm", {}),
        ("adwm[]", "adwm", {}),
        (" adwm [ eta = 0 , omega=1 ] ", "adwm", {"eta": "0", "omega": "1"}),
        ("x_1[a=b=c]", "x_1", {"a": "b=c"}),
    ],
)
def test_specs_are_read(spec, name, params):
    assert registry.parse_spec(spec) == (name, params)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("adwm[", "cannot read the spec"),
        ("1x", "cannot read"),
        ("", "cannot read"),
        ("x[eta]", "'eta'"),
        ("x[a=1,a=2]", "given twice"),
    ],
)
def test_unreadable_specs_are_refused(spec, message):
    with pytest.raises(BenchError, match=message):
        registry.parse_spec(spec)


@pytest.mark.parametrize(
    "spec",
    [
        "sampler",
        "sampler[flag=true]",
        "sampler[cap=2.5,count=-4]",
        "sampler[limit=null,mode=slow]",
        "sampler[label=some text,rate=1e-05]",
    ],
)
def test_specs_rebuild_what_they_name(sampler, spec):
    estimator = registry.make_estimator(spec)
    assert registry.spec_of(estimator) == spec
    assert registry.make_estimator(registry.spec_of(estimator)) == estimator


def test_values_have_the_type_of_their_field(sampler):
    made = registry.make_estimator("sampler[flag=TRUE,rate=1,cap=none,limit=7]")
    assert (made.flag, made.rate, made.cap, made.limit) == (True, 1.0, None, 7)
    assert type(made.rate) is float and type(made.limit) is int


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sampler[flag=yes]", "'yes' is not a bool"),
        ("sampler[count=1.5]", "'1.5' is not a int"),
        ("sampler[cap=much]", "'much' is not a float"),
        ("sampler[cap=inf]", "must be finite"),
        ("sampler[cap=nan]", "must be finite"),
        ("sampler[mode=fsat]", "Did you mean 'fast'"),
        ("sampler[cuont=1]", "Did you mean 'count'"),
    ],
)
def test_wrong_parameters_are_answered_with_right_ones(sampler, spec, message):
    with pytest.raises(BenchError, match=message):
        registry.make_estimator(spec)


def test_a_misspelled_name_is_answered_with_the_likely_one():
    with pytest.raises(
        UnknownNameError, match="unknown estimator 'importance_samplin'. Did you mean 'importance_sampling'.*Known: "
    ):
        registry.make_estimator("importance_samplin")
    with pytest.raises(UnknownNameError, match="unknown task 'toychain'. Did you mean 'toy_chain'"):
        registry.task("toychain")


def test_the_message_survives_the_way_back_from_a_worker():
    error = UnknownNameError("task", "toychain", ["toy_chain"])
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_every_default_has_a_spec_of_its_name_alone():
    for name in registry.estimator_names():
        assert registry.spec_of(registry.make_estimator(name)) == name


def test_listing_imports_nothing(monkeypatch, tmp_path):
    _add(monkeypatch, tmp_path, "explodes", "raise RuntimeError('imported')")
    (tmp_path / "_shared.py").write_text("")
    assert registry.estimator_names() == ["explodes"]


def test_summary_is_the_first_line_of_the_docstring():
    assert registry.summary("tasks", "toy_chain").startswith("Enumerable house")
    assert "\n" not in registry.summary("estimators", "importance_sampling")


@pytest.mark.parametrize(("copies", "message"), [(0, "found 0"), (2, "found 2")])
def test_a_file_holds_exactly_one_plug_in(monkeypatch, tmp_path, copies, message):
    source = "\n".join(SOURCE.format(summary="x", name=f"E{i}") for i in range(copies))
    _add(monkeypatch, tmp_path, "many", source)
    with pytest.raises(BenchError, match=message):
        registry.estimator_class("many")


def test_a_plug_in_is_named_by_its_file(monkeypatch, tmp_path):
    _add(monkeypatch, tmp_path, "lonely", SOURCE.format(summary="One line.", name="AnyName"))
    assert registry.estimator_class("lonely").name == "lonely"


def test_thin_policy_wrappers_agree_with_the_batched_ones():
    task = registry.task("toy_chain")
    policy, trajectory = task.policy("careful"), max(task.log("pooled").trajectories, key=len)
    pairs = tuple((s.observation, s.action) for s in trajectory.steps)
    contexts = [Context(trajectory.goal, pairs[:t], s.observation) for t, s in enumerate(trajectory.steps)]
    assert (
        log_prob(policy, contexts, [s.action for s in trajectory.steps]).tolist()
        == policy.log_prob_episodes([trajectory])[0].tolist()
    )
    assert all(isinstance(action, str) for action in sample(policy, contexts, 0))


def _add(monkeypatch: pytest.MonkeyPatch, folder, name: str, source: str) -> None:
    """Puts a file into an empty folder and lets the registry look there."""
    (folder / f"{name}.py").write_text(source)
    import estimators

    monkeypatch.setattr(estimators, "__path__", [str(folder)])
    monkeypatch.delitem(sys.modules, f"estimators.{name}", raising=False)
