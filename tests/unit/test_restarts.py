"""When a policy is started again, and who comes after whom; processes are faked, time is the test's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.errors import LoopError
from edgerl.runtime.enums import Event, Mode
from edgerl.runtime.policies import Changes
from edgerl.runtime.restarts import RestartLimits, Restarts
from edgerl.runtime.structs import Status
from edgerl.runtime.succession import Succession, Work

LIMITS = RestartLimits(count=3, window_s=60.0, delay_s=0.5, longest_delay_s=1.5)


def pauses(restarts: Restarts, at: list[float]) -> list[float | None]:
    """Return the pause after each death; None where no start followed."""
    found: list[float | None] = []
    for now in at:
        restarts.died(now)
        starts = [step / 100 for step in range(2001) if restarts.due(now + step / 100)]
        assert len(starts) <= 1
        found.append(starts[0] if starts else None)
    return found


def test_pauses_double_up_to_the_longest_and_end() -> None:
    restarts = Restarts(LIMITS)
    assert pauses(restarts, [0.0, 5.0, 10.0, 15.0]) == [0.5, 1.0, 1.5, None]
    assert restarts.given_up
    assert restarts.total == 3
    assert "died 4 times within 60 s" in restarts.describe()
    assert pauses(restarts, [500.0]) == [None]  # given up is given up, however long ago


def test_deaths_that_lie_far_apart_are_each_the_first() -> None:
    assert pauses(Restarts(LIMITS), [0.0, 61.0, 122.5, 184.0, 246.0]) == [0.5] * 5


def test_no_restart_at_all_is_a_choice() -> None:
    restarts = Restarts(RestartLimits(count=0))
    assert pauses(restarts, [0.0]) == [None]
    assert restarts.given_up


@given(st.integers(0, 5), st.lists(st.floats(0.0, 40.0), max_size=60))
def test_never_more_restarts_for_the_deaths_of_a_window_than_allowed(count, lives) -> None:
    restarts = Restarts(RestartLimits(count=count, window_s=60.0, delay_s=0.5, longest_delay_s=5.0))
    now, replaced = 0.0, []
    for life in lives:
        now += life
        restarts.died(now)
        if restarts.due(now + 5.0):
            replaced.append(now)
            now += 5.0
    for first in replaced:
        assert sum(first <= death <= first + 60.0 for death in replaced) <= count


@pytest.mark.parametrize(
    "wrong", [{"count": -1}, {"window_s": 0.0}, {"delay_s": -1.0}, {"delay_s": 11.0}, {"window_s": float("nan")}]
)
def test_limits_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(LoopError, match="cannot be started again"):
        RestartLimits(**wrong)


class FakePolicy:
    """A process that lives until the test ends it."""

    def __init__(self, epoch: int, job: str, *, rest: bool) -> None:
        self.epoch, self.job, self.rest = epoch, job, rest
        self.alive, self.ready, self.killed = True, False, False

    def kill(self) -> None:
        self.alive, self.killed = False, True

    def obituary(self) -> str:
        return f"policy {self.epoch} {'was killed' if self.killed else 'ended'}"


class FakeRoles:
    """Roles without processes, as ``Policies`` keeps them."""

    def __init__(self) -> None:
        self.acting: FakePolicy | None = None
        self.candidate: FakePolicy | None = None
        self.started: list[FakePolicy] = []
        self.running: list[FakePolicy] = []
        self.switches = 0

    def start(self, job: str, *, rest: bool = False) -> FakePolicy:
        policy = FakePolicy(len(self.started) + 1, job, rest=rest)
        self.started.append(policy)
        self.running.append(policy)
        assert len(self.running) <= 3
        return policy

    def act(self, policy: FakePolicy | None) -> None:
        self.acting = policy

    def make_candidate(self, policy: FakePolicy | None) -> None:
        self.candidate = policy

    def switch(self) -> None:
        self.switches += 1

    def drop(self, policy: FakePolicy) -> None:
        self.acting = None if policy is self.acting else self.acting
        self.candidate = None if policy is self.candidate else self.candidate
        policy.alive = False
        self.running.remove(policy)

    def attend(self, status: Status) -> Changes:
        retired = None
        if self.candidate is not None and status.acting == self.candidate.epoch:
            retired, self.acting, self.candidate = self.acting, self.candidate, None
        died = tuple(policy for policy in self.running if not policy.alive)
        self.acting = None if self.acting in died else self.acting
        self.candidate = None if self.candidate in died else self.candidate
        return Changes(died, retired)


class Story:
    """A succession and its clock."""

    def __init__(self, *, spare: bool = False) -> None:
        self.roles = FakeRoles()
        self.succession = Succession(self.roles, Work("first", "aa"), LIMITS, spare=spare)
        self.now = 0.0
        self.succession.begin()

    def look(self, after_s: float = 0.02, **status: int) -> None:
        self.now += after_s
        self.succession.attend(
            Status(**{"acting": self.roles.acting.epoch if self.roles.acting else 0, **status}), self.now
        )

    def ready(self) -> None:
        for policy in self.roles.running:
            policy.ready = True
        self.look()


def test_the_first_policy_acts_from_its_start_and_is_ready_when_it_says_so() -> None:
    story = Story()
    assert (story.succession.ready, story.succession.describe()) == (False, "loading")
    story.ready()
    assert (story.succession.ready, story.succession.describe()) == (True, "ready")
    assert not story.succession.final


def test_a_policy_that_died_is_started_again_after_a_pause() -> None:
    story = Story()
    story.ready()
    story.roles.acting.alive = False
    story.look()
    assert story.roles.acting is None
    assert story.succession.describe() == "policy 1 ended; it is started again"
    assert not story.succession.final
    story.look(0.4)
    assert len(story.roles.started) == 1
    story.look(0.1)
    assert (len(story.roles.started), story.roles.acting.epoch, story.succession.restarts) == (2, 2, 1)
    assert story.succession.describe() == "loading"


def test_one_that_dies_again_and_again_is_given_up() -> None:
    story = Story()
    for _ in range(4):
        story.roles.acting.alive = False
        story.look()
        story.look(2.0)
    assert (len(story.roles.started), story.roles.acting) == (4, None)
    assert story.succession.final
    assert story.succession.describe() == "policy 4 ended; it died 4 times within 60 s and is not started again"
    assert story.roles.running == []


def test_a_spare_takes_the_place_of_the_dead_at_once_and_gets_a_successor() -> None:
    story = Story(spare=True)
    assert len(story.roles.started) == 1  # two that load at once would make each other late
    story.ready()
    spare = story.roles.started[1]
    assert (spare.rest, spare.job) == (True, "first")
    story.ready()
    story.roles.acting.alive = False
    story.look()
    assert story.roles.acting is spare
    assert story.succession.ready
    assert len(story.roles.started) == 2
    story.look(1.0)
    assert (len(story.roles.started), story.roles.started[2].rest) == (3, True)


def test_a_spare_steps_in_even_while_it_loads() -> None:
    story = Story(spare=True)
    story.ready()
    story.roles.acting.alive = False
    story.look()
    assert story.roles.acting is story.roles.started[1]
    assert not story.succession.ready
    story.look(5.0)
    assert len(story.roles.started) == 2  # a spare's turn comes when the acting one is warm
    story.ready()
    assert len(story.roles.started) == 3


def test_a_spare_that_dies_counts_as_a_death() -> None:
    story = Story(spare=True)
    story.ready()
    for _ in range(4):
        story.roles.running[-1].alive = False
        story.look()
        story.look(2.0)
    assert story.roles.acting is story.roles.started[0]
    assert len(story.roles.running) == 1
    assert story.succession.obituary == ""


def test_a_candidate_is_told_of_and_its_death_is_nobody_elses() -> None:
    story = Story()
    story.ready()
    story.succession.propose(Work("second", "bb"))
    assert (story.succession.describe_candidate(), story.succession.candidate_bundle) == ("loading", "bb")
    story.ready()
    assert story.succession.candidate_ready
    story.roles.candidate.alive = False
    story.look()
    assert story.succession.describe_candidate() == "policy 2 ended"
    assert (story.succession.candidate_bundle, story.succession.candidate_ready) == ("", False)
    assert story.succession.ready
    story.look(100.0)
    assert len(story.roles.started) == 2


def test_a_candidate_takes_the_place_of_the_one_before() -> None:
    story = Story(spare=True)
    story.ready()
    story.succession.propose(Work("second", "bb"))
    story.succession.propose(Work("third", "cc"))
    assert (story.roles.candidate.job, len(story.roles.running)) == ("third", 3)
    story.succession.withdraw()
    assert (story.roles.candidate, story.succession.describe_candidate()) == (None, "")
    story.succession.withdraw()


def test_after_the_exchange_the_new_one_is_started_again_and_the_old_one_stands_by() -> None:
    story = Story(spare=True)
    story.ready()
    story.succession.propose(Work("second", "bb"))
    story.ready()
    old, new, spare = story.roles.acting, story.roles.candidate, story.roles.started[1]
    story.succession.switch()
    assert story.roles.switches == 1
    story.look(acting=new.epoch)
    assert (story.roles.acting, story.roles.candidate) == (new, old)
    assert (story.succession.bundle, story.succession.candidate_bundle) == ("bb", "aa")
    assert not spare.alive
    assert [policy.job for policy in story.roles.running] == ["first", "second", "second"]
    story.ready()
    new.alive = False
    story.look()
    assert story.roles.acting.job == "second"
    story.succession.switch()
    story.look(acting=old.epoch)
    assert (story.roles.acting, story.succession.bundle) == (old, "aa")


def test_one_that_takes_over_and_dies_at_once_is_mourned_as_the_acting_one() -> None:
    story = Story()
    story.ready()
    story.succession.propose(Work("second", "bb"))
    story.ready()
    new = story.roles.candidate
    new.alive = False
    story.look(acting=new.epoch)
    assert story.succession.obituary == "policy 2 ended"
    story.look(1.0)
    assert story.roles.acting.job == "second"


@pytest.mark.parametrize("mode", [Mode.FALLBACK, Mode.STOPPED])
def test_a_policy_that_owes_an_answer_for_too_long_is_killed_once(mode) -> None:
    story = Story()
    story.ready()
    late = {"fault": int(Event.INFERENCE_TIMEOUT), "fault_tick": 7, "mode": int(mode)}
    story.look(**late)
    assert story.roles.started[0].killed
    assert story.succession.obituary == "policy 1 was killed"
    for _ in range(100):
        story.look(**late)
    assert story.roles.acting.epoch == 2
    assert story.roles.acting.alive  # not to blame for the fault that is still latched
    story.look(**{**late, "fault_tick": 9})
    assert story.roles.started[1].killed


def test_other_faults_kill_nobody() -> None:
    story = Story()
    story.ready()
    for event in Event:
        if event is not Event.INFERENCE_TIMEOUT:
            story.look(fault=int(event), fault_tick=int(event) + 1, mode=int(Mode.STOPPED))
    story.look(fault=int(Event.INFERENCE_TIMEOUT), fault_tick=99, mode=int(Mode.SAFE))
    assert story.roles.acting.epoch == 1
