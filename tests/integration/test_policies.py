"""The policy processes of a run: slots, roles, deaths; real processes over real segments, without a guardian."""

from __future__ import annotations

import ctypes
import os
import time

import numpy as np
import pytest

from edgerl.errors import PolicyProcessError
from edgerl.runtime import core
from edgerl.runtime.enums import Request
from edgerl.runtime.job import Job
from edgerl.runtime.policies import Policies, PolicyProcess
from edgerl.runtime.run import RunOptions, configure
from edgerl.runtime.segments import SharedMemory, share
from edgerl.runtime.structs import Requests, Status
from tests import loop_parts
from tests.loop_parts import MS

SPEC = loop_parts.spec_of(20 * MS)
LOAD = loop_parts.load_of(SPEC, loop_parts.linear(SPEC, np.zeros(3), bias=0.5))
JOB = Job(LOAD.engine, LOAD.golden)


pytestmark = pytest.mark.usefixtures("core")


class Run:
    """The segments of a run, and its policies."""

    def __init__(self, memory: SharedMemory) -> None:
        self.memory = memory
        self.policies = Policies(memory)

    @property
    def requests(self) -> Requests:
        return Requests.from_buffer(self.memory.requests.memory)

    def died(self) -> list[int]:
        return list(self.requests.died)

    def words(self) -> tuple[int, int]:
        requests = self.requests
        return requests.acting, requests.candidate

    def ready(self, policy: PolicyProcess) -> PolicyProcess:
        until = time.monotonic() + 60
        while not policy.ready:
            assert policy.alive, policy.obituary()
            assert time.monotonic() < until
            time.sleep(0.01)
        return policy

    def attend(self, acting: int = 0):
        return self.policies.attend(Status(acting=acting))


@pytest.fixture
def run():
    config = configure(LOAD, RunOptions())
    config.session = 1
    with share(config) as memory:
        made = Run(memory)
        try:
            yield made
        finally:
            made.policies.close()
    assert loop_parts.children() == {}


def until_dead(policy: PolicyProcess) -> None:
    until = time.monotonic() + 10
    while policy.alive:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_policy_gets_ready_and_says_how_long_it_infers(run):
    policy = run.policies.start(JOB)
    assert (policy.ready, policy.inference, run.words()) == (False, None, (0, 0))
    run.policies.act(policy)
    assert run.words() == (policy.word, 0)
    times = run.ready(policy).inference
    assert 0 < times.median_ns <= times.worst_ns < 10**9
    assert 1 <= times.n <= 200
    assert run.attend(policy.word).died == ()


def test_each_process_has_a_slot_and_an_epoch_of_its_own(run):
    policies = [run.policies.start(JOB, rest=True) for _ in range(3)]
    assert [policy.slot for policy in policies] == [0, 1, 2]
    assert len({policy.epoch for policy in policies}) == 3
    with pytest.raises(PolicyProcessError, match="Drop a candidate or a spare"):
        run.policies.start(JOB)
    run.policies.drop(policies[1])
    assert not policies[1].alive
    successor = run.policies.start(JOB, rest=True)
    assert (successor.slot, successor.epoch) == (1, 4)


def test_the_slot_of_the_dead_stays_taken_until_they_are_dropped(run):
    policy = run.policies.start(JOB, rest=True)
    policy.kill()
    until_dead(policy)
    assert run.attend().died == (policy,)
    assert run.attend().died == ()
    assert run.policies.start(JOB, rest=True).slot == 1
    run.policies.drop(policy)
    assert run.policies.start(JOB, rest=True).slot == 0


def test_the_acting_policys_death_vacates_its_role_and_is_reported(run):
    acting, candidate = run.policies.start(JOB), run.policies.start(JOB, rest=True)
    run.policies.act(acting)
    run.policies.make_candidate(candidate)
    acting.kill()
    until_dead(acting)
    assert run.attend(acting.word).died == ()  # the guardian is told, and may be about to switch
    assert (run.died(), run.words()) == ([acting.epoch, 0, 0], (acting.word, candidate.word))
    changes = run.attend(0)
    assert (changes.died, changes.retired) == ((acting,), None)
    assert "SIGKILL" in acting.obituary()
    assert run.words() == (0, candidate.word)
    assert run.policies.acting is None
    assert run.attend(0).died == ()


def test_the_candidates_death_is_no_fault(run):
    acting, candidate = run.policies.start(JOB, rest=True), run.policies.start(JOB, rest=True)
    run.policies.act(acting)
    run.policies.make_candidate(candidate)
    candidate.kill()
    until_dead(candidate)
    assert run.attend(acting.word).died == (candidate,)
    assert run.words() == (acting.word, 0)
    assert run.died() == [0, candidate.epoch, 0]


def test_the_supervisor_follows_the_guardians_switch(run):
    acting, candidate = run.policies.start(JOB, rest=True), run.policies.start(JOB, rest=True)
    run.policies.act(acting)
    run.policies.make_candidate(candidate)
    run.policies.switch()
    assert run.requests.counters[Request.SWITCH] == 1
    assert run.attend(acting.word).retired is None
    changes = run.attend(candidate.word)
    assert changes.retired is acting
    assert (run.policies.acting, run.policies.candidate) == (candidate, None)
    assert run.words() == (candidate.word, 0)
    run.policies.make_candidate(acting)
    assert run.words() == (candidate.word, acting.word)


def test_an_old_policy_that_dies_as_the_new_one_takes_over_is_not_the_acting_ones_death(run):
    acting, candidate = run.policies.start(JOB, rest=True), run.policies.start(JOB, rest=True)
    run.policies.act(acting)
    run.policies.make_candidate(candidate)
    acting.kill()
    until_dead(acting)
    assert run.attend(acting.word).died == ()  # the guardian's last word is older than the switch
    assert run.words() == (acting.word, candidate.word)
    changes = run.attend(candidate.word)
    assert (changes.retired, changes.died) == (acting, (acting,))
    assert run.policies.acting is candidate
    assert run.words() == (candidate.word, 0)


@pytest.mark.parametrize("acts_now", ["nobody", "the old one"])
def test_a_policy_that_dies_as_it_has_taken_over_is_the_acting_ones_death(acts_now, run):
    acting, candidate = run.policies.start(JOB, rest=True), run.policies.start(JOB, rest=True)
    run.policies.act(acting)
    run.policies.make_candidate(candidate)
    candidate.kill()
    until_dead(candidate)
    assert run.policies.attend(Status(acting=acting.word, candidate=candidate.word)).died == ()
    now = {"nobody": 0, "the old one": acting.word}[acts_now]
    changes = run.policies.attend(Status(acting=now, switched=1))
    assert (changes.retired, changes.died) == (acting, (candidate,))
    assert run.policies.acting is None
    assert run.words() == (0, 0)


def test_one_that_is_dropped_may_have_taken_over_and_is_reported_dead(run):
    acting, candidate = run.policies.start(JOB, rest=True), run.policies.start(JOB, rest=True)
    run.policies.act(acting)
    run.policies.make_candidate(candidate)
    run.policies.drop(candidate)
    assert (run.died(), run.words()) == ([0, candidate.epoch, 0], (acting.word, 0))
    assert run.attend(acting.word).died == ()


def test_a_resting_policy_begins_when_it_gets_a_role(run):
    policy = run.ready(run.policies.start(JOB, rest=True))
    assert policy.resting
    run.policies.make_candidate(policy)
    assert not policy.resting
    assert policy.alive
    with pytest.raises(ValueError, match="its own candidate"):
        run.policies.act(policy)
        run.policies.make_candidate(policy)


def test_a_candidate_that_is_made_the_acting_policy_is_no_candidate_any_more(run):
    policy = run.policies.start(JOB, rest=True)
    run.policies.make_candidate(policy)
    run.policies.act(policy)
    assert run.words() == (policy.word, 0)
    run.policies.drop(policy)
    assert run.words() == (0, 0)


def test_requests_are_as_the_guardian_reads_them(run):
    assert ctypes.sizeof(Requests) == len(run.memory.requests.memory)
    assert core.policy_word(3, 2) == 3 * 256 + 2


def test_the_acting_policy_goes_before_the_one_beside_it(run):
    run.policies = Policies(run.memory, priority=30)
    acting, candidate = run.policies.start(JOB), run.policies.start(JOB)
    run.policies.act(acting)
    run.policies.make_candidate(candidate)
    run.ready(acting)
    run.ready(candidate)
    if os.sched_getscheduler(acting.pid) != os.SCHED_FIFO:
        pytest.skip("real-time priority is not granted here")
    run.attend(acting.word)
    assert [os.sched_getparam(policy.pid).sched_priority for policy in (acting, candidate)] == [30, 29]
    run.attend(candidate.word)
    assert [os.sched_getparam(policy.pid).sched_priority for policy in (acting, candidate)] == [29, 30]
