"""The page about a run: every number comes from the run, every string is escaped, what is missing is said in words."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from edgerl import canonical
from edgerl.bundle.manifest import Versions
from edgerl.errors import DamagedBundle, MissingExtra, OutputError
from edgerl.parity import NOT_RUN, ChannelParity
from edgerl.report import figures, render_report, sections, write_report
from edgerl.report.collect import report_of
from edgerl.report.measure import timings
from edgerl.report.plots_commands import channel
from edgerl.report.run_report import TrainerReturn
from edgerl.report.verdict import judge
from edgerl.runtime.enums import Clock, Event, Mode, Source, Verdict
from edgerl.runtime.quantiles import samples_needed, summarize
from edgerl.runtime.recording.write import RecordingWriter
from edgerl.runtime.result import Scheduling
from edgerl.spec import SCHEMA, Action, Input, PolicySpec, Provenance, Robot, opaque_term, packed
from tests import simulated_run as simulated

pytest.importorskip("matplotlib", reason="matplotlib (extra `report`) is not installed")

EVIL = "<script>alert('x')</script>&\"\u202e\x00$\\frac{1}{2}$"


def said_by(report) -> str:
    """What the page says, without the time that its drawings take."""
    parts = (
        sections.verdict(judge(report)), sections.facts(report), sections.timing(report), figures.returns(report),
        sections.counters(report), sections.parity(report.parity), sections.events(report),
    )  # fmt: skip
    return words_of("".join(parts))


def words_of(page: str) -> str:
    """The page as one reads it, without drawings and styles."""
    without = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<wbr>", "", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", without))


class _Structure(HTMLParser):
    VOID = ("meta", "wbr", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def structure_of(page: str) -> _Structure:
    parser = _Structure()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser


@pytest.fixture(scope="module")
def good() -> str:
    return render_report(simulated.report())


@pytest.fixture(scope="module")
def bad_rows():
    rows = simulated.records(600, 600)
    simulated.be_late(rows, 100, 3)
    rows["missed_periods"][200] = 2
    simulated.meet(rows, 300, Event.REJECT)
    rows["rejected"][300, 0], rows["causes"][300] = 0b100, Verdict.RATE
    simulated.fall_back(rows, 500)
    return rows


def test_a_good_run_says_so_and_shows_its_sections_in_the_order_of_interest(good):
    said = words_of(good)
    assert "The run went well." in said
    found = re.findall(r"<h2>(.*?)</h2>", good)
    expected = ["What ran", "Timing", "When it happened", "Commands", "Episodes", "Counters", "Parity", "Events"]
    assert found == expected
    for part in ("SCHED_FIFO 80", "AMD EPYC 9555", "99.7 % of the trainer&#x27;s own 3,994.7", "50 ms (20 Hz)"):
        assert part in said


def test_the_page_is_well_formed_and_no_identifier_occurs_twice(good):
    found = structure_of(good)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', good))
    assert used
    assert used <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))


def test_the_page_needs_no_network_and_no_script(good):
    found = structure_of(good)
    assert not found.tags & {"script", "link", "img", "iframe", "object", "base", "form"}
    assert "http:" not in good
    assert "https:" not in good
    assert "//" not in good
    assert "@import" not in good
    assert not re.search(r"\son\w+=", good)
    assert set(re.findall(r"url\(([^)]*)\)", good)) == set(re.findall(r"url\((#[^)]*)\)", good))


def test_the_same_run_gives_the_same_bytes(good):
    assert render_report(simulated.report()) == good


def test_the_file_is_small_even_after_a_long_run(tmp_path):
    write_report(tmp_path / "long.html", simulated.report(simulated.records(50_000, 50_000)))
    assert (tmp_path / "long.html").stat().st_size < 700_000


def test_a_string_from_a_file_is_never_markup():
    names = tuple(f"{EVIL}{index}" for index in range(6))
    whole = simulated.report(
        names=names,
        title=EVIL,
        heading={"robot": EVIL},
        commands=simulated.commands(names, EVIL),
        said={"message": EVIL},
    )
    policy = replace(whole.policy, name=EVIL, bundle=EVIL, engine=EVIL, trainer=EVIL, packed_with=((EVIL, EVIL),))
    rows = whole.recording.records
    simulated.meet(rows, 300, Event.REJECT)
    rows["rejected"][300, 0] = 1
    page = render_report(replace(whole, policy=policy, parity=replace(whole.parity, against=EVIL)))
    assert "script" not in structure_of(page).tags
    assert page.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&amp;&quot;U+202EU+0000$\\frac{1}{2}$") > 10
    assert "\u202e" not in page
    assert "\x00" not in page


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ({"heading": {"robot": "udp:10.0.0.7:5000"}}, "gym:HalfCheetah-v5", "udp:10.0.0.7:5000"),
        ({"heading": {"session": "1234567890abcdef"}}, "00c0ffee00c0ffee", "1234567890abcdef"),
        ({"heading": {"guardian": {"period_ns": 4_000_000}}}, "50 ms (20 Hz)", "4 ms (250 Hz)"),
        ({"heading": {"started_unix_ns": 1_690_000_000 * 10**9}}, "2026-09-21 14:13:20 UTC", "2023-07-22 04:26:40 UTC"),
        ({"said": {"bundle": "a1" * 32}}, "b2" * 32, "a1" * 32),
        ({"said": {"scheduling": Scheduling(0, 1, 0, False, 12)}}, "SCHED_FIFO 80", "(Operation not permitted)"),
        ({"said": {"episodes": (simulated.episode(value=3999.9),)}}, "3,981.2", "3,999.9"),
        ({"trainer_return": TrainerReturn(4001.5, 9.75, 20, None)}, "3,994.7", "4,001.5 ± 9.75 (20 episodes)"),
        ({"parity": simulated.parity(rows=1234)}, "256 rows", "1,234 rows"),
    ],
)  # fmt: skip
def test_what_the_page_says_comes_from_the_run(change, before, after):
    plain, said = said_by(simulated.report()), said_by(simulated.report(**change))
    assert before in plain
    assert after not in plain
    assert after in said
    assert before not in said


@pytest.mark.parametrize(
    "column", ["start_ns", "scheduled_ns", "stamp_ns", "write_ns", "infer_ns", "post_ns", "action_ns"]
)
def test_one_changed_time_changes_the_page(column):
    rows = simulated.records()
    earlier = column in ("scheduled_ns", "stamp_ns", "post_ns")
    rows[column][150] = (
        rows[column][150] - np.uint64(7_000_000) if earlier else rows[column][150] + np.uint64(7_000_000)
    )
    assert said_by(simulated.report(rows)) != said_by(simulated.report())


@pytest.mark.parametrize("column", ["command", "action"])
def test_one_changed_command_changes_its_own_drawing_only(column):
    before, after = simulated.records(), simulated.records()
    after[column][50, 2] = 0.123
    sent = simulated.commands()
    changed = [channel(before[:100], i, sent[i], "one") != channel(after[:100], i, sent[i], "one") for i in range(6)]
    assert changed == [False, False, True, False, False, False]


def test_counters_are_the_guardian_s_own():
    whole = simulated.report()
    numbers = {
        "ticks": 10_001, "missed_periods": 10_002, "actions_late": 10_003, "actions_stale": 10_004,
        "states_lost": 10_005, "states_skipped": 10_006, "send_errors": 10_000, "receive_errors": 7,
        "dropped": {"crc": 10_000, "old": 8},
    }  # fmt: skip
    result = replace(whole.result, counts=replace(whole.result.counts, **numbers))
    said = said_by(replace(whole, result=result))
    for number in range(10_001, 10_009):
        assert f" {number:,} " in said
        assert f"{number:,}" not in said_by(whole)
    assert "crc 10,000, old 8" in said


def test_the_times_are_those_of_the_run_s_own_summary(bad_rows):
    whole = simulated.report(bad_rows)
    mine = {timing.name: timing.summary for timing in timings(whole)}
    theirs = whole.result.timing
    assert mine["lateness"] == theirs.lateness
    assert mine["latency"] == theirs.latency
    assert mine["policy's answer"] == theirs.answer
    assert mine["inference"] == theirs.inference


def test_a_quantile_is_given_only_where_three_samples_lie_beyond_it():
    assert [samples_needed(q) for q in (0.5, 0.9, 0.99, 0.999)] == [6, 30, 300, 3000]
    found = summarize(np.arange(299)[::-1])
    assert [q.value for q in found.quantiles] == [149, 269, None, None]
    assert summarize(np.arange(300)).quantiles[2].value == 296
    assert (found.n, found.maximum) == (299, 298)
    said = said_by(simulated.report(simulated.records(299, 299)))
    assert "n ≥ 300 " in said
    assert "n ≥ 3,000" in said


def test_lateness_and_latency_are_of_the_real_time_part_only():
    rows = simulated.records()
    lockstep = rows["clock"] == Clock.LOCKSTEP
    before = {t.name: t.summary for t in timings(simulated.report(rows))}
    rows["start_ns"][lockstep] += 10**9
    rows["write_ns"][lockstep] += 10**9
    assert {t.name: t.summary for t in timings(simulated.report(rows))} == before


def test_latency_is_not_quoted_across_two_clocks():
    said = said_by(simulated.report(heading={"same_clock": False}))
    assert "state stamp → command written" in said_by(simulated.report())
    assert "state stamp → command written" not in said
    assert "latency cannot be measured from this side" in said


def test_a_bad_run_says_what_went_wrong_and_when(bad_rows):
    page = render_report(simulated.report(bad_rows))
    said = words_of(page)
    assert "The run did not go well: see faults and mode at the end." in said
    assert "tick 500 too many degraded ticks" in said
    assert "3 late actions, 0 ticks without a new state, 2 skipped periods" in said
    assert "100 \N{EN DASH} 102" in said
    assert "2 periods skipped before it" in said
    assert "action rejected by the envelope (bfoot: rate)" in said
    assert "ACTIVE → FALLBACK" in said
    assert "FALLBACK → STOPPED" in said
    assert "mode FALLBACK" in said
    assert "3 late answers are in none of the samples" in said


@pytest.mark.parametrize(
    ("change", "level", "name"),
    [
        ({}, "good", None),
        ({"parity": NOT_RUN}, "note", "Parity"),
        ({"parity": simulated.parity(status="failed")}, "bad", "Parity"),
        ({"trainer_return": TrainerReturn(4200.0, 1.0, 10, 4100.0)}, "bad", "Return"),
        ({"trainer_return": TrainerReturn(4200.0, 1.0, 10, None)}, "good", None),
        ({"said": {"ended": "estop"}}, "bad", "Mode at the end"),
        ({"said": {"fault": "policy_fault"}}, "bad", "Faults"),
        ({"said": {"episodes": ()}}, "note", "Return"),
        ({"said": {"episodes": (simulated.episode(value=None),)}}, "note", "Return"),
    ],
)  # fmt: skip
def test_the_verdict_is_as_bad_as_its_worst_check(change, level, name):
    found = judge(simulated.report(**change))
    assert found.level == level
    assert [check.name for check in found.checks if check.level != "good"] == ([name] if name else [])


def test_a_channel_out_of_tolerance_fails_parity_whatever_the_status_says():
    whole = simulated.report()
    wrong = replace(whole.parity.channels[0], wrong=1, max_error=np.inf, found=None)
    parity = replace(whole.parity, channels=(wrong, *whole.parity.channels[1:]))
    assert judge(replace(whole, parity=parity)).level == "bad"
    assert "beyond any" in said_by(replace(whole, parity=parity))


def test_a_recording_without_a_tick_is_said_in_words():
    said = words_of(render_report(simulated.report(simulated.records(0, 0), said={"episodes": ()})))
    assert "Nothing ran: the recording holds no tick." in said
    assert "No tick ran in real time" in said
    assert "nothing to draw" in said
    assert "None: no tick met anything" in said
    assert "The robot gives no account" in said


@pytest.mark.parametrize("ticks", [1, 2, 7])
def test_a_recording_of_few_ticks_is_drawn(ticks):
    structure_of(render_report(simulated.report(simulated.records(ticks, ticks))))


def test_a_run_in_which_every_action_was_late_is_drawn():
    rows = simulated.records(100, 100)
    simulated.be_late(rows, 0, 100)
    rows["mode"] = rows["from_mode"] = Mode.SAFE
    rows["source"] = Source.SAFE
    said = words_of(render_report(simulated.report(rows)))
    assert "the policy never drove" in said
    assert "100 late answers are in none of the samples" in said


def test_a_run_in_lockstep_only_has_no_lateness():
    whole = simulated.report(simulated.records(500, 0))
    said = said_by(whole) + words_of(figures.timing(whole))
    assert "No tick ran in real time, so there is no lateness and no latency to report." in said
    assert "In lockstep the robot waits" in said


def test_numbers_that_are_none_are_drawn_around():
    rows = simulated.records(400, 400)
    rows["command"][50:60] = np.nan
    rows["action"][70] = np.inf
    rows["action"][:, 1] = np.nan
    rows["command"][:, 1] = np.nan
    page = render_report(simulated.report(rows))
    assert "nan" not in re.sub(r"<style>.*?</style>", "", page, flags=re.S).lower().replace("nance", "")


def test_parity_that_was_not_run_says_what_was_not_compared():
    said = said_by(simulated.report(parity=NOT_RUN))
    assert "Not run: nothing here says that the export acts as trained (no truth was given)." in said


def test_the_state_of_a_recurrent_policy_is_in_the_parity_table():
    state = (ChannelParity("state.lstm.h", 1e-5, 4.44e-6, 3, 0.1, 0.1, 0),)
    said = said_by(simulated.report(parity=simulated.parity(state=state, state_status="passed")))
    assert "state.lstm.h 4.44e-06" in said


def test_what_is_left_out_is_counted():
    rows = simulated.records(2400, 2400)
    for tick in range(10, 2400, 2):
        simulated.be_late(rows, tick)
    names = tuple(f"joint{index}" for index in range(40))
    wide = simulated.report(simulated.records(8, 8, names), names=names)
    assert "8 channels without a drawing here" in words_of(figures.commands(wide))
    assert "696 later rows not shown; the recording has all of them." in said_by(simulated.report(rows))


def test_channels_that_are_told_the_same_all_the_time_are_drawn_once_and_others_each():
    names = ("q[hip]", "q[knee]", "kp[hip]", "kp[knee]", "kd[hip]")
    rows = simulated.records(names=names)
    rows["command"][:, 2:4], rows["command"][:, 4] = 0.8, 0.2
    rows["command"][:, 1] = rows["command"][:, 0]  # two joints that happen to do the same are still two
    gains = tuple(replace(sent, said=None) for sent in simulated.commands(names)[2:])
    report = simulated.report(rows, names=names, commands=(*simulated.commands(names)[:2], *gains))
    drawn = re.findall(r"<strong>(.*?)</strong>([^<]*?) \N{MINUS SIGN}1", figures.commands(report))
    assert sorted(drawn) == [("kd[hip]", ""), ("kp[knee]", " and 1 channel like it:"), ("q[hip]", ""), ("q[knee]", "")]
    rows["command"][50, 3] = 0.7
    changed = simulated.report(rows, names=names, commands=(*simulated.commands(names)[:2], *gains))
    assert words_of(figures.commands(changed)).count("saturates beyond") == 5


@pytest.mark.parametrize(
    ("period_ns", "said", "faint"),
    [(5_000_000, "smallest to largest of each bin", False), (50_000_000, "faint: smallest to largest of a bin", True)],
)
def test_a_run_of_some_seconds_shows_the_movement_and_a_longer_one_its_spread(period_ns, said, faint):
    rows = simulated.records(1000, 1000)
    rows["tick_ns"] = np.arange(1000) * period_ns
    report = simulated.report(rows)
    assert said in words_of(figures.commands(report))
    drawn = channel(rows, 0, simulated.commands()[0], "one")
    assert ("opacity: 0.35" in drawn) == faint


def test_a_recording_that_was_cut_off_says_so():
    assert "cut off before its end" in said_by(simulated.report(complete=False))
    gap = np.delete(simulated.records(), slice(500, 520))
    assert "20 not saved in time" in said_by(simulated.report(gap))


def test_a_recording_that_ended_early_says_why():
    report = simulated.report(said={"recording_trouble": ("Recording stopped: no room.",)})
    assert "1,000 ticks. Recording stopped: no room." in said_by(report)


def test_several_episodes_are_drawn_beside_the_trainer_s_own(good):
    episodes = (simulated.episode(), simulated.episode(1, 3900.0), simulated.episode(2, left="left", truncated=False))
    page = figures.returns(simulated.report(said={"episodes": episodes}))
    assert 'class="grid"><figure><figcaption><strong>Return' in page
    assert "<strong>Return" not in good
    assert "controller left" in words_of(page)


def test_without_matplotlib_one_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"edgerl\[report\]"):
        render_report(simulated.report())


def test_importing_the_report_imports_no_matplotlib_and_no_onnx():
    code = "import sys, edgerl.report; print(sorted(set(sys.modules) & {'matplotlib', 'onnx', 'onnxruntime', 'torch'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_that_is_missing_is_an_output_error(tmp_path):
    with pytest.raises(OutputError):
        write_report(tmp_path / "missing" / "report.html", simulated.report())
    assert not list(tmp_path.iterdir())


def spec_of(pd: str) -> PolicySpec:
    count = len(simulated.JOINTS)
    box = (-1.0,) * count, (1.0,) * count
    action = Action("continuous", simulated.JOINTS, "rad", "position", *box, True, False, None, None)
    robot = Robot(simulated.JOINTS, None, (20.0,) * count, (1.0,) * count, pd, None, 1)
    inputs = packed([Input("observation", (3,), "float32", 0, (opaque_term("observation", 3),))])
    provenance = Provenance("stable-baselines3", "2.9.2", "PPO", {"model.zip": "c4" * 32}, {}, None, ())
    return PolicySpec(SCHEMA, inputs, action, robot, 20_000_000, (), provenance, {})


def test_a_report_is_put_together_from_a_bundle_and_a_result(tmp_path):
    rows = simulated.records()
    file = tmp_path / "run.mcap"
    with RecordingWriter(file, simulated.header()) as writer:
        writer.append(rows)
    certificate = canonical.dumps({"parity": simulated.parity()}).encode()
    spec = spec_of("none")
    manifest = SimpleNamespace(
        spec=spec, versions=Versions("0.1.0", "1.23", "1.32", "3.11"), certificate="certificate.json",
        engines=(SimpleNamespace(backend="onnxruntime"),), envelope=simulated.envelope(),
    )  # fmt: skip
    whole = simulated.report(rows)
    bundle = SimpleNamespace(manifest=manifest, files={"certificate.json": certificate})
    found = report_of(bundle, tmp_path / "cheetah.edgerl", replace(whole.result, recording=str(file)))
    assert found.parity == whole.parity
    assert found.recording.complete
    assert (found.recording.records["start_ns"] == rows["start_ns"]).all()
    assert found.title == "cheetah on gym:HalfCheetah-v5"
    assert [(sent.limits.name, sent.unit, sent.said) for sent in found.commands] == [
        (name, "rad", index) for index, name in enumerate(simulated.JOINTS)
    ]
    manifest.spec = spec_of("drive")
    gains = report_of(bundle, "cheetah.edgerl", replace(whole.result, recording=str(file))).commands[6:]
    assert [(sent.limits.name, sent.unit, sent.said) for sent in gains[:1]] == [("kp[bthigh]", "Nm/rad", None)]
    manifest.spec = spec_of("guardian")
    torques = report_of(bundle, "cheetah.edgerl", replace(whole.result, recording=str(file))).commands
    assert [(sent.unit, sent.said) for sent in torques] == [("Nm", None)] * 6
    manifest.certificate = None
    assert report_of(bundle, "cheetah.edgerl", replace(whole.result, recording=str(file))).parity == NOT_RUN
    manifest.certificate, bundle.files["certificate.json"] = "certificate.json", b"[]"
    with pytest.raises(DamagedBundle, match="not a certificate"):
        report_of(bundle, "cheetah.edgerl", replace(whole.result, recording=str(file)))
