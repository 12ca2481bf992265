"""The suite is worth what it catches: every planted bug fails the check made for it, a correct estimator none."""

from __future__ import annotations

import pytest

from bench import registry
from bench.conformance import ESTIMATOR_CHECKS, contract, failures
from tests import planted_bugs as planted

TASK = registry.task("toy_chain")
INTENDED = {
    planted.GlobalNumpy: "check_same_seed_same_number",
    planted.GlobalRandom: "check_global_rngs_are_untouched",
    planted.SeedsTorch: "check_global_rngs_are_untouched",
    planted.MultipliesProbabilities: "check_long_texts_and_long_episodes",
    planted.FloorsProbabilities: "check_texts_of_60_nats_weigh_like_words",
    planted.WorksInInit: "check_init_only_stores",
    planted.ValidatesInInit: "check_init_only_stores",
    planted.HasInfinity: "check_parameters_rebuild_it",
    planted.AnswersUnfitted: "check_unfitted_raises",
    planted.ReturnsNothing: "check_fit_returns_itself_and_keeps_parameters",
    planted.KeepsEarlierFits: "check_a_second_fit_forgets_the_first",
    planted.RemembersTheFirstPolicy: "check_estimates_are_independent",
    planted.PreparesTooMuch: "check_preparing_changes_no_number",
    planted.ChangesTheLog: "check_data_is_untouched",
    planted.CannotTravel: "check_it_survives_pickling",
    planted.HidesItsNeed: "check_propensities_are_needed_only_if_declared",
    planted.ForgetsToDecline: "check_propensities_are_needed_only_if_declared",
    planted.ShapesTermsFlat: "check_estimate_is_well_formed",
    planted.UsesNumbersOfAllUnits: "check_terms_and_combine_agree_with_the_value",
    planted.NormalizesBeforehand: "check_resampling_equals_refitting",
    planted.AssumesOneLength: "check_ragged_short_and_cut_episodes",
    planted.DividesByOne: "check_a_single_episode",
    planted.DividesZeroByZero: "check_zero_overlap",
    planted.ClaimsOverlap: "check_little_overlap",
    planted.Biased: "check_error_falls_as_the_log_grows",
    planted.DropsTheTerminalReward: "check_terminal_reward_counts",
    planted.NormalizesOverTheLiving: "check_episodes_that_end_early",
    planted.ClipsRewards: "check_doubling_rewards_doubles_the_value",
    planted.GreedyFQE: "check_stochastic_policy_is_not_taken_for_greedy",
}


def test_a_correct_estimator_passes_everything():
    assert failures(planted.Correct, TASK) == {}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bug", INTENDED, ids=lambda bug: bug.__name__)
def test_bug_is_caught_by_the_check_made_for_it(bug):
    assert list(failures(bug, TASK, [INTENDED[bug]])) == [INTENDED[bug]]


def test_expected_values_under_the_policy_pass_where_greedy_ones_fail():
    names = [
        name for name in ESTIMATOR_CHECKS if name.startswith(("check_stochastic", "check_terminal", "check_episodes"))
    ]
    assert len(names) == 3 and failures(planted.TableFQE, TASK, names) == {}


def test_a_constant_bias_is_also_caught_where_the_answer_is_known():
    check = "check_target_equal_to_logger_gives_the_log_mean"
    assert check in failures(planted.Biased, TASK, [check])


def test_fitting_twice_is_not_fitting_once_for_those_who_keep_earlier_fits():
    assert "check_fit_is_idempotent" in failures(planted.KeepsEarlierFits, TASK, ["check_fit_is_idempotent"])


def test_slow_tiny_parameters_are_caught(monkeypatch):
    monkeypatch.setattr(contract, "SECONDS", 1e-6)
    assert list(failures(planted.Correct, TASK, ["check_tiny_is_quick"])) == ["check_tiny_is_quick"]


def test_every_check_catches_something():
    other = {"check_target_equal_to_logger_gives_the_log_mean", "check_fit_is_idempotent", "check_tiny_is_quick"}
    assert set(INTENDED.values()) | other == set(ESTIMATOR_CHECKS)
