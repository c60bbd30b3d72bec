"""`edgerl run --learn-budgets` and `edgerl budgets`, with real runs: what is written, and what is refused."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from edgerl.envelope import Degrade
from edgerl.envelope.file import parse_envelope
from edgerl.errors import ControlError
from edgerl.runtime.control.client import connect
from tests import loop_parts
from tests.loop_parts import MS

pytestmark = pytest.mark.usefixtures("core")
SPEC, FAST = loop_parts.spec_of(50 * MS), loop_parts.spec_of(5 * MS)
PATIENT = {"degrade": Degrade(misses=500, of_ticks=1000), "valid_for_ns": 200 * MS}
"""A machine that the tests share may be late; that is not what they are about."""
PENDULUM = "--robot", "gym:Pendulum-v1"
OWN = """schema = 1
on_reject = "hold"
safe_command = [0.0]
[default]
low = -2.0
high = 2.0
max_rate = inf
[ladder]
hold_s = 0.02
safe_s = 0.1
"""


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert loop_parts.children() == {}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return loop_parts.save_packed(SPEC, tmp_path_factory.mktemp("bundle") / "p.edgerl", bias=0.1)


@pytest.mark.slow
def test_a_run_in_real_time_gives_a_piece_of_an_envelope(edgerl, tmp_path):
    out, again = tmp_path / "learned.toml", tmp_path / "again.toml"
    bundle = loop_parts.save_packed(FAST, tmp_path / "fast.edgerl", bias=0.1, **PATIENT)
    answer = edgerl(
        "run", bundle, "--robot", "pkg:tests.loop_drivers:Swinging", "--arm", "--no-stay", "--ticks", 1100,
        "--recording", tmp_path / "run.mcap", "--learn-budgets", out, "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.out + answer.err
    learned = answer.json["budgets"]
    assert answer.json["no_budgets"] == ""
    assert learned["ticks"] >= 1090
    assert answer.json["timing"]["inference"]["maximum"] < learned["budget_ns"] < 5 * MS
    loop, _, watchdog = out.read_text().partition("[watchdog]\n")
    text = f"{loop}valid_for_s = 0.02\n[watchdog]\n{watchdog}"
    envelope = parse_envelope((OWN.replace("[default]", f"{text}\n[default]")).encode(), "merged.toml", FAST)
    assert envelope.budget_ns == learned["budget_ns"]
    assert envelope.inference_timeout_ns == learned["inference_timeout_ns"] >= 10 * MS
    assert envelope.watchdog is not None
    assert envelope.watchdog.jitter is not None
    assert envelope.watchdog.jitter.budget_ns == learned["jitter"]["budget_ns"]

    shown = edgerl("budgets", tmp_path / "run.mcap", "-o", again)
    assert (shown.code, again.read_text()) == (0, out.read_text())
    assert "loop.budget_s" in shown.err
    assert edgerl("budgets", tmp_path / "run.mcap", "-o", again).code == 1


def test_too_short_a_run_is_shown_and_refused_as_a_baseline(edgerl, bundle, tmp_path):
    out, recording = tmp_path / "learned.toml", tmp_path / "run.mcap"
    command = ("run", bundle, *PENDULUM, "--ticks", 20, "--recording", recording, "--learn-budgets", out, "--json")
    answer = edgerl(*command)
    assert answer.code == 3
    assert (answer.json["ended"], answer.json["budgets"]) == ("ticks", None)
    assert "needs 1,000. Drive for at least 55 s in real time: --ticks 1100" in answer.json["no_budgets"]
    refused = edgerl("budgets", recording)
    assert refused.code == 3
    assert refused.err.startswith("no: No budgets can be learned: the run has ")
    assert edgerl("budgets", recording, "--json").json["error"]["type"] == "NoBaseline"
    assert [path.name for path in tmp_path.iterdir()] == ["run.mcap"]


def test_what_cannot_teach_anything_is_refused_before_a_robot_is_driven(edgerl, bundle, tmp_path):
    mine = tmp_path / "envelope.toml"
    mine.write_text("schema = 1\n")
    for words, said in (
        (("--realtime", 0, "--learn-budgets", tmp_path / "new.toml"), "Nothing can be learned from a run in lockstep"),
        (("--no-record", "--learn-budgets", tmp_path / "new.toml"), "from the recording of a run"),
        (("--learn-budgets", mine), "is there already"),
        (("--learn-budgets", tmp_path / "nowhere" / "new.toml"), "does not exist"),
    ):
        answer = edgerl("run", bundle, *PENDULUM, "--recording", tmp_path / "run.mcap", *words)
        assert (answer.code, said in answer.err) == (1, True), answer.err
    assert mine.read_text() == "schema = 1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["envelope.toml"]


def kill_the_policy_of(path: Path) -> None:
    """Once it is in charge."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(ControlError), connect(control=str(path)) as run:
            if run.status().loop.stage == "running":
                os.kill(loop_parts.children()["policy"], signal.SIGKILL)
                return
        time.sleep(0.02)


def test_a_run_whose_policy_was_killed_is_no_baseline_and_shown_as_the_fault_that_it_is(edgerl, bundle, tmp_path):
    control, out = tmp_path / "control", tmp_path / "learned.toml"
    killer = threading.Thread(target=kill_the_policy_of, args=(control,))
    killer.start()
    answer = edgerl(
        "run", bundle, *PENDULUM, "--control", control, "--recording", tmp_path / "run.mcap", "--learn-budgets", out,
        "--json",
    )  # fmt: skip
    killer.join()
    assert (answer.code, answer.json["ended"], answer.json["fault"]) == (3, "fault", "policy_fault")
    assert "the run had a fault (policy fault in tick " in answer.json["no_budgets"]
    assert not out.exists()


def test_a_run_that_goes_over_to_lockstep_teaches_nothing_of_that(edgerl, bundle, tmp_path):
    out = tmp_path / "learned.toml"
    answer = edgerl(
        "run", bundle, *PENDULUM, "--realtime", 0.2, "--recording", tmp_path / "run.mcap", "--learn-budgets", out
    )
    assert answer.code == 3
    assert "done: " in answer.err
    assert "no: No budgets can be learned: the run has " in answer.err
    assert not out.exists()
