"""Budgets that are learned from recordings: from which runs, which numbers, and as which file; nothing is started."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl.envelope import Degrade, Envelope
from edgerl.envelope.file import parse_envelope
from edgerl.envelope.watchdog import Jitter
from edgerl.errors import NoBaseline, OutputError
from edgerl.runtime.baseline import baseline_of, worst_window
from edgerl.runtime.budgets import SAMPLES, learn_budgets
from edgerl.runtime.budgets_file import check_free, learn_file, rows_of, toml_of, write_budgets
from edgerl.runtime.enums import Clock, Event, Mode, StateFlag
from edgerl.runtime.quantiles import time_text
from edgerl.runtime.recording import Recording, Records
from edgerl.runtime.recording.recorder import Keep, Recorder
from tests.loop_parts import spec_of
from tests.recordings import PERIOD_NS, fall, header, ticks

US = 1_000
LOOP = {
    "period_ns": PERIOD_NS,
    "budget_ns": 800 * US,
    "action_delay": 0,
    "policy_divider": 1,
    "bucket_window": 20,
}
N = 4000


def healthy(count: int = N, **loop: int) -> Records:
    """Ticks in charge: 5 us late, a state in each, an answer after 100 us that took 60 us, a command 10 us later."""
    rows = ticks(count)
    divider, delay = loop.get("policy_divider", 1), loop.get("action_delay", 0)
    rows["scheduled_ns"] = rows["start_ns"] - np.uint64(5 * US)
    rows["observed"] = 1
    rows["stamp_ns"] = rows["start_ns"]
    asks = rows["tick"] % divider == 0
    rows["post_ns"] = np.where(asks, rows["start_ns"] + np.uint64(20 * US), 0)
    takes = (rows["tick"] >= delay) & ((rows["tick"] - np.uint64(delay)) % divider == 0)
    rows["action_ns"] = np.where(takes, rows["start_ns"] + np.uint64(95 * US), 0)
    rows["infer_ns"] = np.where(takes, 60 * US, 0)
    rows["action_sequence"] = np.where(takes, rows["tick"] - np.uint64(delay), 0)
    rows["write_ns"] = rows["start_ns"] + np.uint64(105 * US)
    return rows


def recorded(rows: Records, *, complete: bool = True, **loop: int) -> Recording:
    return Recording(header(guardian={**LOOP, **loop}), rows, complete)


def answer_after(rows: Records, place, time_ns: int) -> None:
    """The answer of some ticks comes so long after their schedule, and the command 10 us later."""
    rows["action_ns"][place] = rows["scheduled_ns"][place] + np.uint64(time_ns)
    rows["write_ns"][place] = rows["action_ns"][place] + np.uint64(10 * US)


def late(rows: Records, place) -> None:
    """In some ticks there is no answer in time."""
    rows["action_ns"][place] = rows["infer_ns"][place] = rows["action_sequence"][place] = 0
    rows["events"][place] |= 1 << Event.ACTION_LATE


def refusal(rows: Records, **loop: int) -> str:
    with pytest.raises(NoBaseline) as caught:
        learn_budgets(recorded(rows, **loop))
    assert caught.value.exit_code == 3
    return str(caught.value)


def test_every_threshold_follows_from_what_was_measured_by_the_rule_beside_it() -> None:
    rows = healthy()
    answer_after(rows, slice(7, 4000, 80), 150 * US)  # 1.25 % of them: the 99th percentile
    answer_after(rows, 99, 400 * US)
    rows["start_ns"][500] += np.uint64(30 * US)
    budgets = learn_budgets(recorded(rows))
    assert budgets.budget_ns == 500 * US  # a quarter more than the longest, not twice the p99
    assert budgets.inference_timeout_ns == 2 * PERIOD_NS
    assert budgets.state_timeout_ns == 2_100 * US  # 1.03 ms between two states, twice, rounded up
    assert budgets.degrade == Degrade(3, 20)
    assert budgets.jitter == Jitter(50 * US, 3, 1000)
    assert budgets.frozen_ticks is None
    assert [one.key for one in budgets.learned] == [
        "loop.budget_s", "loop.inference_timeout_s", "loop.state_timeout_s", "loop.degrade", "watchdog.jitter",
    ]  # fmt: skip
    answer = budgets.learned[0].summary
    assert (answer.n, answer.maximum, [one.value for one in answer.quantiles]) == (
        N, 400 * US, [100 * US, 150 * US, 150 * US],
    )  # fmt: skip
    assert (budgets.ticks, budgets.period_ns, budgets.machine.processor) == (N, PERIOD_NS, "CPU")
    assert budgets.inference.maximum == 60 * US


def test_the_budget_is_twice_the_99th_percentile_where_that_is_more() -> None:
    rows = healthy()
    answer_after(rows, slice(0, N, 20), 300 * US)
    assert learn_budgets(recorded(rows)).budget_ns == 600 * US


def test_the_budget_leaves_the_rest_of_the_tick_its_time_and_says_so() -> None:
    rows = healthy()
    answer_after(rows, slice(0, N, 20), 700 * US)
    rows["write_ns"] = rows["action_ns"] + np.uint64(50 * US)
    budgets = learn_budgets(recorded(rows))
    assert budgets.budget_ns == PERIOD_NS - 1 - 100 * US
    assert "the rest of the tick" in budgets.learned[0].rule


def test_no_budget_is_below_an_answer_that_was_used_even_where_the_tick_has_no_time_left() -> None:
    rows = healthy()
    answer_after(rows, 77, 990 * US)
    rows["write_ns"][77] = rows["action_ns"][77] + np.uint64(300 * US)
    rows["write_ns"] = np.maximum(rows["write_ns"], rows["action_ns"] + np.uint64(200 * US))
    assert learn_budgets(recorded(rows)).budget_ns == 990 * US


def test_a_late_answer_counts_as_longer_than_the_budget_that_it_missed() -> None:
    rows = healthy()
    late(rows, [100, 2000])
    budgets = learn_budgets(recorded(rows, budget_ns=600 * US))
    assert budgets.budget_ns == 750 * US
    assert budgets.learned[0].late == 2
    assert budgets.degrade == Degrade(3, 20)
    assert budgets.inference_timeout_ns == 2_200 * US  # it owed an answer from one tick to the next


def test_the_bucket_has_room_for_twice_as_many_bad_ticks_as_there_were() -> None:
    rows = healthy()
    late(rows, [100, 105, 110, 600])
    budgets = learn_budgets(recorded(rows, bucket_window=40))
    assert budgets.degrade == Degrade(7, 40)
    assert budgets.inference_timeout_ns == 6 * PERIOD_NS
    rows = healthy()
    late(rows, [100, 101])
    assert learn_budgets(recorded(rows, bucket_window=5)).degrade.misses == 5


def test_half_of_a_window_of_bad_ticks_is_no_healthy_run() -> None:
    rows = healthy()
    rows["events"][50:62] |= 1 << Event.STATE_LOST
    assert "12 of 20 ticks in a row were bad ticks" in refusal(rows)


def test_a_policy_with_a_delay_gets_no_budget_and_a_time_out_beyond_its_delay() -> None:
    loop = {"policy_divider": 4, "action_delay": 3, "bucket_window": 80}
    budgets = learn_budgets(recorded(healthy(5000, **loop), **loop))
    assert budgets.budget_ns is None
    assert budgets.inference_timeout_ns == 11 * PERIOD_NS  # the ninth late tick is the eleventh after the observation
    assert budgets.degrade == Degrade(9, 80)
    assert budgets.learned[0].key == "loop.inference_timeout_s"
    assert "until that took effect" in budgets.learned[0].what


def test_jitter_counts_the_periods_that_were_missed_and_how_many_came_together() -> None:
    rows = healthy()
    rows["missed_periods"][[300, 310, 320]] = 2
    budgets = learn_budgets(recorded(rows))
    assert budgets.jitter == Jitter(50 * US, 7, 1000)
    assert budgets.learned[-1].summary.maximum == 2 * PERIOD_NS + 5 * US
    rows["clock"] = Clock.ROBOT  # whose lateness holds them already
    assert learn_budgets(recorded(rows)).jitter == Jitter(50 * US, 3, 1000)


def test_on_the_robots_clock_the_budget_counts_from_the_arrival_of_its_state() -> None:
    rows = healthy()
    rows["scheduled_ns"] = rows["start_ns"] - np.uint64(300 * US)
    rows["clock"] = Clock.ROBOT
    assert learn_budgets(recorded(rows)).budget_ns == 190 * US


def test_a_noisy_channel_is_stuck_after_twice_the_repeats_that_it_had() -> None:
    rows = healthy()
    rows["state"][:, 1] = np.repeat(np.arange(N / 8), 8)
    budgets = learn_budgets(recorded(rows), noisy=("q[hip]", "q[knee]"))
    assert budgets.frozen_ticks == 14
    assert (budgets.learned[-1].key, budgets.learned[-1].summary.n) == ("watchdog.frozen_ticks", N - 1)
    assert learn_budgets(recorded(rows), noisy=("q[hip]",)).frozen_ticks == 10
    rows["state"][:, 1] = np.nan
    assert learn_budgets(recorded(rows), noisy=("q[knee]",)).frozen_ticks == 10
    rows["state"][:, 1], rows["state_flags"] = 1.0, StateFlag.WAITING
    assert learn_budgets(recorded(rows), noisy=("q[knee]",)).frozen_ticks == 10
    with pytest.raises(NoBaseline, match=r"no state channel 'gyro'\. Its channels: q\[hip\], q"):
        learn_budgets(recorded(rows), noisy=("gyro",))


def test_a_run_with_a_fault_is_no_baseline_and_the_fault_is_named() -> None:
    said = refusal(fall(healthy(), 3000, Event.STATE_LIMIT))
    assert "state limit in tick 3,000" in said
    assert "what led to it must not become normal" in said


def test_an_e_stop_is_a_fault_and_an_orderly_end_is_none() -> None:
    rows = healthy()
    rows["mode"][-1], rows["event"][-1] = Mode.STOPPED, Event.ESTOP
    assert "estop in tick 3,999" in refusal(rows)
    rows["event"][-1] = Event.QUIT
    assert learn_budgets(recorded(rows)).ticks == N - 1


def test_a_run_of_two_policies_is_no_baseline() -> None:
    rows = healthy()
    rows["events"][1234] |= 1 << Event.SWITCH
    assert "another policy took over in tick 1,234" in refusal(rows)


def test_a_recording_with_gaps_or_without_an_end_is_no_baseline() -> None:
    assert "7 ticks of the run are not in its recording" in refusal(np.delete(healthy(), slice(50, 57)))
    with pytest.raises(NoBaseline, match="cut off"):
        learn_budgets(recorded(healthy(), complete=False))
    with pytest.raises(NoBaseline, match="does not say its budget_ns"):
        learn_budgets(Recording(header(), healthy(), complete=True))


def test_lockstep_is_no_real_time() -> None:
    rows = healthy()
    rows["clock"] = Clock.LOCKSTEP
    assert "all ticks of the run were in lockstep" in refusal(rows)
    rows = healthy()
    rows["clock"][2000:] = Clock.LOCKSTEP
    assert learn_budgets(recorded(rows)).ticks == 2000


def test_a_policy_that_was_never_in_charge_teaches_nothing() -> None:
    rows = healthy()
    rows["mode"] = rows["from_mode"] = Mode.SAFE
    assert "in charge in no tick" in refusal(rows)
    assert "in charge in no tick" in refusal(healthy(0))


def test_too_short_a_run_is_refused_with_how_many_are_missing_and_how_long_to_run() -> None:
    said = refusal(healthy(SAMPLES - 1))
    assert "999 answers of the policy" in said
    assert "needs 1,000" in said
    assert "at least 1.1 s in real time: --ticks 1100" in said
    assert learn_budgets(recorded(healthy(SAMPLES + 1))).ticks == SAMPLES + 1
    slow = {"policy_divider": 20, "action_delay": 20}
    said = refusal(healthy(N, **slow), **slow)
    assert "199 answers" in said
    assert "at least 22 s in real time: --ticks 22000" in said


def test_states_that_come_seldom_need_a_longer_run() -> None:
    rows = healthy()
    rows["observed"] = rows["tick"] % 8 == 0
    said = refusal(rows)
    assert "499 states that followed" in said
    assert "--ticks 8817" in said


def test_answers_that_are_late_too_often_are_refused_with_a_delay_that_would_fit() -> None:
    rows = healthy()
    late(rows, slice(0, N, 50))
    said = refusal(rows)
    assert "80 of 4,000 answers came after the 800 µs that the policy had" in said
    assert "policy_divider = 2 in its spec and action_delay = 2 in the envelope, which leave it 2 ms" in said


def test_an_inference_longer_than_the_policy_can_have_is_refused_with_a_delay_that_would_fit() -> None:
    rows = healthy()
    rows["infer_ns"][::50] = 1_700 * US
    said = refusal(rows)
    assert "the 99th percentile of 4,000 inferences is 1.7 ms, and the policy can have 1 ms" in said
    assert "action_delay = 4 in the envelope, which leave it 4 ms" in said


def test_a_longer_delay_within_the_divider_needs_no_other_spec() -> None:
    loop = {"policy_divider": 4, "action_delay": 1}
    rows = healthy(5000, **loop)
    rows["infer_ns"][rows["infer_ns"] > 0] = 1_400 * US
    said = refusal(rows, **loop)
    assert "What would fit: action_delay = 3 in the envelope, which leave it 3 ms" in said


def test_a_machine_that_wakes_up_half_a_period_late_is_refused() -> None:
    rows = healthy()
    rows["scheduled_ns"][::20] -= np.uint64(600 * US)
    said = refusal(rows)
    assert "one tick in a hundred began 605 µs late" in said
    assert "edgerl doctor" in said


def test_a_gap_of_an_hour_is_refused() -> None:
    rows = healthy()
    for name in ("scheduled_ns", "start_ns", "post_ns", "action_ns", "write_ns"):
        rows[name][2000:] += np.uint64(2000 * 10**9)
    assert "4,000 s, and an hour is the most" in refusal(rows)


@pytest.mark.parametrize(("flags", "width", "most"), [("", 5, 0), ("1", 5, 1), ("0110111", 3, 3), ("10101", 3, 2)])
def test_the_worst_window_is_the_one_with_the_most_flags(flags, width, most) -> None:
    assert worst_window(np.array([flag == "1" for flag in flags], np.bool_), width) == most


SPEC = spec_of(PERIOD_NS)


HEAD = """
schema = 1
on_reject = "hold"
safe_command = [0.0]
"""
REST = """
[ladder]
hold_s = 0.1
safe_s = 1.0
[default]
low = -1.0
high = 1.0
max_rate = inf
"""


def merged(learned: str) -> Envelope:
    """An envelope in which the learned keys stand where a person would put them."""
    loop, _, watchdog = learned.partition("[watchdog]\n")
    text = f"{HEAD}{loop}valid_for_s = 0.002\n{REST}\n[watchdog]\n{watchdog}"
    return parse_envelope(text.encode(), "merged.toml", SPEC)


def test_the_file_is_read_back_as_the_envelope_that_was_learned() -> None:
    rows = healthy()
    answer_after(rows, slice(7, 4000, 80), 151_234)
    budgets = learn_budgets(recorded(rows))
    text = toml_of(budgets)
    envelope = merged(text)
    assert envelope.budget_ns == budgets.budget_ns
    assert envelope.inference_timeout_ns == budgets.inference_timeout_ns
    assert envelope.state_timeout_ns == budgets.state_timeout_ns
    assert envelope.degrade == budgets.degrade
    assert envelope.watchdog is not None
    assert envelope.watchdog.jitter == budgets.jitter
    assert max(map(len, text.splitlines())) <= 120
    for said in ("n = 4,000", "p99 151 µs", "machine: CPU, 2 CPUs, x86_64, Linux 6.1", "2026-09-21", "abababababab"):
        assert said in text, text
    assert len(rows_of(budgets)) == len(budgets.learned)


def test_a_name_from_the_machine_ends_no_comment() -> None:
    budgets = learn_budgets(recorded(healthy()))
    budgets = dataclasses.replace(
        budgets, robot="gym:x\n[loop]\nbudget_s = 1", machine=dataclasses.replace(budgets.machine, processor="a\rb")
    )
    text = toml_of(budgets)
    assert [line for line in text.splitlines() if line.startswith("[loop]")] == ["[loop]"]
    assert merged(text) == merged(toml_of(learn_budgets(recorded(healthy()))))


def test_the_file_is_a_new_one_or_none(tmp_path: Path) -> None:
    budgets = learn_budgets(recorded(healthy()))
    place = tmp_path / "learned.toml"
    write_budgets(place, budgets)
    assert place.read_text() == toml_of(budgets)
    for again in (lambda: write_budgets(place, budgets), lambda: check_free(place)):
        with pytest.raises(OutputError, match="is there already"):
            again()
    with pytest.raises(OutputError, match="does not exist"):
        check_free(tmp_path / "nowhere" / "learned.toml")
    assert [path.name for path in tmp_path.iterdir()] == ["learned.toml"]


def test_a_recordings_file_is_learned_from_and_a_refusal_writes_nothing(tmp_path: Path) -> None:
    told = header(guardian=LOOP)
    for name, rows in (("good.mcap", healthy()), ("bad.mcap", fall(healthy(), 9))):
        with Recorder(tmp_path / name, told, Keep()) as recorder:
            recorder.take(rows)
            recorder.close()
    learned = learn_file(tmp_path / "good.mcap", tmp_path / "good.toml")
    assert (tmp_path / "good.toml").read_text() == toml_of(learned)
    assert learn_file(tmp_path / "good.mcap", noisy=("q[hip]",)).frozen_ticks == 10
    with pytest.raises(NoBaseline):
        learn_file(tmp_path / "bad.mcap", tmp_path / "bad.toml")
    assert not (tmp_path / "bad.toml").exists()


TIMES = st.integers(0, 950 * US)


@settings(max_examples=60)
@given(st.lists(TIMES, min_size=1, max_size=60), st.lists(st.integers(0, 3 * PERIOD_NS), max_size=12), st.randoms())
def test_no_threshold_would_have_been_met_in_the_run_itself(answers, wakeups, random) -> None:
    rows = healthy(1500)
    for place, time_ns in zip(random.sample(range(10, 1400), len(answers)), answers, strict=True):
        answer_after(rows, place, time_ns)
    for place, late_ns in zip(random.sample(range(10, 1400), len(wakeups)), wakeups, strict=True):
        rows["scheduled_ns"][place] = rows["start_ns"][place] - np.uint64(late_ns % PERIOD_NS)
        rows["missed_periods"][place] = late_ns // PERIOD_NS
    random.shuffle(missing := list(range(10, 1400)))
    rows["observed"][missing[: random.randrange(4)]] = 0
    rows["state"][random.randrange(1500)] = random.choice([np.nan, np.inf, -np.inf])
    base = baseline_of(recorded(rows), ("q[knee]",))
    try:
        budgets = learn_budgets(recorded(rows), noisy=("q[knee]",))
    except NoBaseline:
        return
    assert budgets.budget_ns is not None
    assert max(int(base.answer.max()), 1) <= budgets.budget_ns < PERIOD_NS
    assert budgets.inference_timeout_ns >= 2 * max(int(base.owed.max()), PERIOD_NS)
    assert budgets.state_timeout_ns >= 2 * int(base.state_gap.max())
    assert worst_window(base.bad, budgets.degrade.of_ticks) < budgets.degrade.misses <= budgets.degrade.of_ticks
    over = base.lateness > budgets.jitter.budget_ns
    assert worst_window(over, budgets.jitter.of_ticks) < budgets.jitter.misses <= budgets.jitter.of_ticks
    assert base.repeats is not None
    assert budgets.frozen_ticks is not None
    assert budgets.frozen_ticks > base.repeats[1]
    fitting = merged(toml_of(dataclasses.replace(budgets, frozen_ticks=None, learned=budgets.learned[:-1])))
    assert (fitting.budget_ns, fitting.degrade) == (budgets.budget_ns, budgets.degrade)


@pytest.mark.parametrize(
    ("time_ns", "said"),
    [(0, "0 µs"), (113, "0.113 µs"), (999_499, "999 µs"), (999_500, "1 ms"), (20_250_000, "20.2 ms"), (10**9, "1 s")],
)
def test_times_have_three_digits_and_a_unit_that_fits(time_ns, said) -> None:
    assert time_text(time_ns) == said
