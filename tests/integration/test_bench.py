"""The benchmarks on this machine: that they run and judge, never how fast it is."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from edgerl.bench import footprint, round_trip, stall
from edgerl.bench.fault_kinds import KINDS
from edgerl.bench.fault_trials import in_one_run, one_run_each
from edgerl.bench.faults import reaction_of
from edgerl.bench.orphans import supervisor_deaths
from edgerl.bench.policies import backends_installed, echo_load, mlp_load, mlp_load_in_c
from edgerl.bench.robot import CommandFlag
from edgerl.bench.setting import MS, Setting, find_processors, never_degrading
from edgerl.bench.suite import bench_runtime
from edgerl.bench.witness import examine
from edgerl.runtime.enums import Mode, Source

SLOW = 4 * MS
"""A period at which a loaded machine of a test keeps up."""


@pytest.fixture
def setting(tmp_path):
    with backends_installed():
        yield Setting(tmp_path, find_processors(), True, lambda _: None)


def test_the_robot_stamps_every_command_and_each_one_answers_its_own_state(setting):
    with setting.loop(never_degrading(echo_load(SLOW)), 5.0) as loop:
        loop.wait_ready()
        loop.arm()
        loop.run(0.3)
        records, commands, stamps = loop.finish(), loop.robot.commands(), loop.robot.stamps()
    assert len(commands) >= 20
    assert (commands["arrival_ns"] > stamps[commands["state_sequence"] - 1]).all()
    assert (np.diff(commands["arrival_ns"]) > 0).all()
    assert (commands["flags"] & (CommandFlag.IN_ORDER | CommandFlag.ECHO_MATCHES) == 3).all()
    own = commands[commands["source"] == Source.POLICY]
    assert len(own) >= 10
    testimony = examine(records, commands, low=-2.0, high=2.0)
    assert (testimony.unsafe, testimony.stale, testimony.missing) == (0, 0, 0), testimony


@pytest.mark.slow
def test_every_fault_that_a_policy_survives_is_answered_as_the_table_says(setting):
    kinds = tuple(kind for kind in KINDS if kind.how in ("robot", "signal"))
    run = in_one_run(setting, echo_load(SLOW), kinds, 2)
    found = [reaction_of(run, one) for one in run.injections]
    assert {one.kind.name for one in found if one is not None} == {kind.name for kind in kinds}
    assert [one.said for one in found if one is not None and not one.right] == []
    testimony = examine(run.records, run.commands, low=-2.0, high=2.0, frozen=run.frozen)
    assert (testimony.unsafe, testimony.stale, testimony.missing) == (0, 0, 0), testimony


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "supervisor killed"])
def test_a_process_that_dies_is_answered_as_the_table_says(setting, name):
    (kind,) = (kind for kind in KINDS if kind.name == name)
    runs = list(
        supervisor_deaths(setting, kind, 2)
        if kind.how == "supervisor"
        else one_run_each(setting, echo_load(SLOW), kind, 2)
    )
    found = [reaction_of(run, run.injections[0]) for run in runs]
    assert [one.said for one in found if one is not None and not one.right] == []
    assert any(found)
    assert all(Mode.STOPPED in run.records["mode"] or Mode.FALLBACK in run.records["mode"] for run in runs)


@pytest.mark.slow
def test_the_policy_in_c_says_what_the_policy_in_python_says(setting):
    seen = []
    for load in (mlp_load(SLOW), mlp_load_in_c(SLOW, setting.program("policy"))):
        with setting.loop(never_degrading(load), 5.0) as loop:
            loop.wait_ready()
            loop.arm()
            loop.run(0.3)
            loop.finish()
            seen.append(loop.robot.commands())
    assert round_trip.difference_of_answers(seen[:1], seen[1:]) <= round_trip.AGREE


@pytest.mark.slow
def test_a_standstill_is_found_and_counted(setting):
    found = stall.stall(setting)
    assert [fact.value for fact in found.facts] == [3, 3]
    assert {gate.value for gate in found.gates if "ticks in a burst" in gate.name} == {0.0}


def test_the_loop_on_a_faked_clock_meets_its_modes_and_allocates_nothing(setting):
    found = footprint.allocation(setting)
    assert {fact.name for fact in found.facts} >= {f"ticks in {mode}" for mode in ("SAFE", "ACTIVE", "FALLBACK")}
    assert [gate.value for gate in found.gates] == [0.0, 0.0]
    assert {gate.verdict for gate in found.gates} == {"undecided"}, "a tenth of the ticks is not enough to say"


def test_what_cannot_run_says_why_and_keeps_nothing_else_from_running(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    found = bench_runtime(only=("stall", "allocation"), quick=True)
    assert [one.name for one in found.benchmarks] == ["stall", "allocation"]
    assert {gate.verdict for one in found.benchmarks for gate in one.gates} == {"not_run"}
    assert not found.passed


def test_the_command_prints_one_document_and_says_no(tmp_path):
    arguments = ["bench", "runtime", "--quick", "--only", "allocation", "--json", "-o", "b.json", "--report", "b.html"]
    code = "from edgerl.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "b.json").read_text())
    assert [one["name"] for one in document["benchmarks"]] == ["allocation"]
    assert document["quick"] and document["machine"]["cpus"] > 0
    assert "No allocation in a tick" in (tmp_path / "b.html").read_text()
