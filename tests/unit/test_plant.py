"""The plant's parts against real Gymnasium spaces and real sockets; waits for periods only."""

from __future__ import annotations

import contextlib
import json
import threading
import time

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs

from edgerl.errors import EdgerlError, LoopError, MissingExtra
from edgerl.hil import environment, plant
from edgerl.hil.episodes import Plant, PlantConfig
from edgerl.hil.grid import Grid
from edgerl.hil.port import UdpRobotSide
from edgerl.hil.spaces import ActionChannels, ObservationChannels
from edgerl.runtime import wire
from edgerl.runtime.frames import FrameWriter
from edgerl.runtime.layout import Channel, FrameChannel, Layout
from edgerl.runtime.plant_lines import EpisodeResult, PlantEnd, Span, read_line
from edgerl.runtime.session import Session, Terms, open_session
from edgerl.runtime.wire import Header, StateFlag

PERIOD_NS = 4_000_000
ACTIVE, FALLBACK = 2, 3
POLICY, HOLD = 0, 1


class Counting(gymnasium.Env):
    """Observes how often it was stepped; its reward is the action, so that the return says what was applied."""

    observation_space = gs.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gs.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, length: int = 10) -> None:
        self.length, self.steps, self.seeds = length, 0, []
        self.at_ns = []

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        self.seeds.append(seed)
        return np.zeros(2), {}

    def step(self, action):
        self.at_ns.append(time.monotonic_ns())
        self.steps += 1
        return np.array([self.steps, 0.0]), float(action[0]), False, self.steps >= self.length, {}


class Running:
    """A plant in a thread and a controller that the test plays."""

    def __init__(self, env, **config) -> None:
        channels = ObservationChannels(env.observation_space), ActionChannels(env.action_space)
        self.layout = Layout(channels[0].channels, channels[1].channels)
        config = PlantConfig(env="in the test", claim_timeout_s=5.0, **config)
        self.port = UdpRobotSide(("127.0.0.1", 0), self.layout, PERIOD_NS, lockstep_possible=True)
        self.lines: list = []
        self.thread = threading.Thread(target=self._run, args=(env, config, channels))
        self.thread.start()
        self.sequence = 0

    def _run(self, env, config, channels) -> None:
        self.lines.append(Plant(env, config, self.port, channels, FrameWriter({})).run(self.lines.append))

    def terms(self, **changes) -> Terms:
        return Terms(
            **{"layout": self.layout, "period_ns": PERIOD_NS, "budget_ns": 1, "valid_for_ns": PERIOD_NS, **changes}
        )

    def open(self, **changes) -> Session:
        session = open_session(self.port.address, self.terms(**changes), timeout_s=2.0)
        session.socket.settimeout(3.0)
        return session

    def state(self, session: Session) -> wire.State:
        while True:
            message = wire.decode(session.socket.recv(2048))
            if isinstance(message, wire.State):
                return message

    def answer(self, session: Session, state: wire.State, value: float, mode=ACTIVE, source=POLICY, valid_for_ns=None):
        self.sequence += 1
        header = Header(session.id, self.sequence, time.monotonic_ns())
        valid = PERIOD_NS if valid_for_ns is None else valid_for_ns
        echo = state.header.sequence, state.header.stamp_ns, valid
        session.socket.send(wire.encode(wire.Command(header, *echo, mode, source, np.array([value], np.float32))))

    def begin(self, session: Session, value: float, **answer) -> None:
        """Answer from mode ACTIVE until the robot moves; on a busy machine the first answers may come too late."""
        while StateFlag.WAITING in (state := self.state(session)).flags:
            self.answer(session, state, value, **answer)

    def sit_out(self, session: Session) -> None:
        """Answer nothing until the robot is done; it may have said so already."""
        with contextlib.suppress(TimeoutError):
            session.socket.settimeout(0.5)
            while StateFlag.DONE not in self.state(session).flags:
                pass

    def join(self) -> tuple[list[EpisodeResult], PlantEnd]:
        self.thread.join(10.0)
        assert not self.thread.is_alive()
        self.port.close()
        return self.lines[:-1], self.lines[-1]


def test_lockstep_episodes_are_stepped_once_for_each_answer() -> None:
    env = Counting(length=7)
    running = Running(env, realtime_seconds=0.0, episodes=2, seed=5)
    seen = []
    with running.open() as session:
        while StateFlag.DONE not in (state := running.state(session)).flags:
            seen.append((StateFlag.EPISODE_START in state.flags, state.values[0], state.header.stamp_ns))
            assert StateFlag.LOCKSTEP in state.flags
            running.answer(session, state, 0.5)
    episodes, end = running.join()
    assert [flag for flag, _, _ in seen] == ([True] + [False] * 6) * 2
    assert [count for _, count, _ in seen] == list(range(7)) * 2
    assert set(np.diff([stamp for _, _, stamp in seen])) == {PERIOD_NS}
    assert env.seeds == [5, 6]
    assert [(e.steps, e.episode_return, e.missed, e.truncated) for e in episodes] == [(7, 3.5, 0, True)] * 2
    assert (end.reason, end.accepted, end.dropped) == ("done", 14, {})


def test_it_stands_still_until_a_command_from_active_answers() -> None:
    env = Counting(length=1)
    running = Running(env)
    with running.open() as session:
        for _ in range(3):
            state = running.state(session)
            assert state.flags == StateFlag.EPISODE_START | StateFlag.WAITING
            running.answer(session, state, 0.1, mode=0)
        assert env.steps == 0
        running.begin(session, 0.25)
        running.sit_out(session)
    (episode,), _ = running.join()
    assert episode.episode_return == 0.25
    assert episode.applied == (Span(ACTIVE, POLICY, 1),)


def test_it_integrates_at_the_deadline_and_not_when_the_command_comes() -> None:
    env = Counting(length=5)
    running = Running(env, budget_fraction=0.75)
    stamps = []
    with running.open() as session:
        while StateFlag.DONE not in (state := running.state(session)).flags:
            running.answer(session, state, 0.0)
            stamps.append(state.header.stamp_ns)
    (episode,), _ = running.join()
    if (
        episode.missed == 0 and len(stamps) == 5
    ):  # every answer came in time; a machine that did not run us proves nothing here
        waited = [step - stamp for step, stamp in zip(env.at_ns, stamps[-5:], strict=True)]
        assert min(waited) > 0.75 * PERIOD_NS - max(episode.lateness_ns)
    assert len(episode.latency_ns) == episode.realtime_steps - episode.missed
    assert all(lateness >= 0 for lateness in episode.lateness_ns)


def test_in_real_time_a_command_lapses_by_the_robots_clock() -> None:
    running = Running(Counting(length=12))
    with running.open() as session:
        running.begin(session, 1.0, valid_for_ns=3 * PERIOD_NS)
        running.sit_out(session)
    (episode,), _ = running.join()
    assert episode.applied[-1] == Span(None, None, episode.lapsed)
    assert 8 <= episode.lapsed <= 11
    assert episode.missed == 11
    assert episode.episode_return == 12 - episode.lapsed


def test_a_controller_that_never_commands_does_not_keep_the_robot_for_ever(monkeypatch) -> None:
    monkeypatch.setattr("edgerl.hil.port.FIRST_COMMAND_NS", 20_000_000)
    running = Running(Counting(length=3))
    with running.open():
        episodes, end = running.join()
    assert (end.reason, episodes[0].steps) == ("silent", 0)


def test_a_robot_goes_on_telling_its_state_while_it_is_reset() -> None:
    class Slow(Counting):
        def reset(self, **given):
            time.sleep(0.1)
            return super().reset(**given)

    running = Running(Slow(length=2), realtime_seconds=0.0, episodes=2)
    flags = []
    with running.open() as session:
        while StateFlag.DONE not in (state := running.state(session)).flags:
            flags.append(state.flags & ~StateFlag.LOCKSTEP)
            running.answer(session, state, 0.0)
    first, second = running.join()[0]
    assert (first.steps, second.steps) == (2, 2)
    assert flags.count(StateFlag.WAITING) >= 3
    assert flags.index(StateFlag.WAITING) < len(flags) - 1 - flags[::-1].index(
        StateFlag.EPISODE_START | StateFlag.WAITING
    )


def test_a_second_controller_is_told_that_the_robot_is_busy_and_the_owner_notices_nothing() -> None:
    running = Running(Counting(length=3), realtime_seconds=0.0)
    with running.open() as session:
        state = running.state(session)
        with pytest.raises(EdgerlError, match="busy"):
            running.open()
        while StateFlag.DONE not in state.flags:
            running.answer(session, state, 0.0)
            state = running.state(session)
    (episode,), end = running.join()
    assert (episode.steps, end.refused) == (3, {"busy": 1})


SWAPPED = Layout((Channel("observation[1]", "1"), Channel("observation[0]", "1")), (Channel("action[0]", "1"),))


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"layout": SWAPPED}, "layout mismatch"), ({"period_ns": PERIOD_NS + 1}, r"period mismatch.*4000000")],
)
def test_another_layout_or_period_is_refused_before_any_state(changes, words) -> None:
    running = Running(Counting(length=1), realtime_seconds=0.0)
    with pytest.raises(EdgerlError, match=words):
        running.open(**changes)
    with running.open() as session:
        running.answer(session, running.state(session), 0.0)
        running.state(session)
    running.join()


def test_bad_datagrams_are_counted_by_cause_and_change_nothing() -> None:
    running = Running(Counting(length=2), realtime_seconds=0.0)
    with running.open() as session:
        state = running.state(session)
        good = wire.encode(wire.Bye(Header(session.id + 1 or 1, 1, 1), 0))
        session.socket.send(b"noise")
        session.socket.send(good)  # another session's BYE must not end ours
        session.socket.send(good[:-1] + bytes([good[-1] ^ 1]))
        running.answer(session, state, float("nan"))
        running.answer(session, wire.State(Header(session.id, 999, 5), state.flags, state.values), 1.0)
        while StateFlag.DONE not in state.flags:
            running.answer(session, state, 0.5)
            state = running.state(session)
    (episode,), end = running.join()
    assert end.dropped == {"checksum": 1, "field": 1, "length": 1, "sequence": 1, "session": 1}
    assert (episode.steps, episode.episode_return) == (2, 1.0)


def test_a_hello_of_a_newer_version_is_told_the_robots_version() -> None:
    running = Running(Counting(length=1), realtime_seconds=0.0)
    with running.open() as session:
        state = running.state(session)
        hello = bytearray(wire.encode(wire.Hello(Header(9, 1, 1), bytes(32), 1, 1, 1, 1, 1)))
        hello[4] = 2
        session.socket.send(bytes(hello))
        while not isinstance(message := wire.decode(session.socket.recv(2048)), wire.Refused):
            pass
        assert (message.code, message.header.session) == (wire.Refusal.VERSION, 9)
        running.answer(session, state, 0.0)
    running.join()


@pytest.mark.parametrize(
    ("space", "observation", "expected"),
    [
        (gs.Box(-1, 1, (2, 2), np.float64), np.array([[1.0, 2.0], [3.0, 4.0]]), [1, 2, 3, 4]),
        (gs.Discrete(5, start=2), np.int64(4), [4]),
        (gs.MultiDiscrete([3, 4]), np.array([2, 3]), [2, 3]),
        (gs.MultiBinary(3), np.array([1, 0, 1], np.int8), [1, 0, 1]),
        (gs.Dict({"b": gs.Discrete(3), "a": gs.Box(0, 1, (2,))}), {"a": np.array([0.5, 1.0]), "b": 2}, [0.5, 1.0, 2]),
    ],
)
def test_observations_become_channels(space, observation, expected) -> None:
    channels = ObservationChannels(space)
    flat = channels.flatten(observation)
    assert flat.dtype == np.float32
    assert flat.tolist() == expected
    assert len(channels.channels) == len(expected)


def test_channels_follow_the_policys_order_of_keys() -> None:
    channels = ObservationChannels(gs.Dict({"a": gs.Box(0, 1, (2,)), "b": gs.Discrete(3)}))
    order = ("observation.b[0]", "observation.a[0]", "observation.a[1]")
    channels.adopt(tuple(Channel(name, "rad") for name in order))
    assert channels.flatten({"a": np.array([0.5, 1.0]), "b": 2}).tolist() == [2, 0.5, 1.0]
    with pytest.raises(LoopError, match=r"observation\.c"):
        channels.adopt((Channel("observation.c[0]", "1"),))


SCENE = gs.Dict(
    {
        "camera": gs.Box(0, 255, (4, 5, 3), np.uint8),
        "gray": gs.Box(0, 255, (4, 5), np.uint8),
        "scan": gs.Box(-1, 1, (400,), np.float64),
        "speed": gs.Box(-1, 1, (2,), np.float32),
    }
)


def test_images_and_what_no_datagram_carries_become_frames() -> None:
    channels = ObservationChannels(SCENE)
    assert channels.frames == (
        FrameChannel("observation.camera", (4, 5, 3), "uint8"),
        FrameChannel("observation.scan", (400,), "float32"),
    )
    assert len(channels.channels) == 20 + 2
    observation = SCENE.sample()
    camera, scan = channels.images(observation)
    assert (camera.dtype, scan.dtype) == (np.uint8, np.float32)
    assert np.array_equal(camera, observation["camera"])
    assert np.array_equal(scan, observation["scan"].astype(np.float32))
    assert np.array_equal(channels.flatten(observation)[20:], observation["speed"])


def test_an_observation_of_one_image_has_no_channels() -> None:
    channels = ObservationChannels(SCENE["camera"])
    assert (channels.channels, channels.frames[0].name) == ((), "observation")
    channels.adopt(())
    assert channels.flatten(np.zeros((4, 5, 3), np.uint8)).shape == (0,)


def test_the_policy_says_what_is_a_frame() -> None:
    wide = FrameChannel("observation.gray", (4, 5), "float32")
    channels = ObservationChannels(gs.Dict({"gray": SCENE["gray"], "camera": SCENE["camera"]}), (wide,))
    assert [len(channels.channels), channels.channels[0].name] == [60, "observation.camera[0]"]
    observation = {"gray": np.full((4, 5), 7, np.uint8), "camera": np.zeros((4, 5, 3), np.uint8)}
    (image,) = channels.images(observation)
    assert (image.dtype, image.shape, set(image.flat)) == (np.float32, (4, 5), {7.0})


@pytest.mark.parametrize(
    ("frame", "given"),
    [
        (FrameChannel("observation.camera", (4, 5, 4), "uint8"), r"gives uint8 of shape \(4, 5, 3\)"),
        (FrameChannel("observation.scan", (400,), "uint8"), r"gives float64 of shape \(400,\)"),
        (FrameChannel("observation.lidar", (400,), "float32"), "gives none of this name"),
    ],
)
def test_an_image_that_the_environment_does_not_give_is_named(frame, given) -> None:
    with pytest.raises(LoopError, match=given):
        ObservationChannels(SCENE, (frame,))


@pytest.mark.parametrize(
    ("space", "values", "action", "moved"),
    [
        (gs.Box(-1, 1, (2, 1), np.float64), [0.5, -0.25], [[0.5], [-0.25]], False),
        (gs.Box(-1, 1, (2,), np.float32), [2.0, 0.0], [1.0, 0.0], True),
        (gs.Discrete(3, start=-1), [2.0], 1, False),
        (gs.Discrete(3), [7.0], 2, True),
        (gs.MultiDiscrete([3, 4]), [2.0, 1.0], [2, 1], False),
        (gs.MultiBinary(2), [1.0, 0.0], [1, 0], False),
    ],
)
def test_commands_become_valid_actions(space, values, action, moved) -> None:
    result, was_moved = ActionChannels(space).unflatten(np.array(values, np.float32))
    assert np.asarray(result).tolist() == action
    assert was_moved is moved
    assert space.contains(result)


@pytest.mark.parametrize(
    ("space", "expected"),
    [(gs.Box(-1, 1, (2,)), [0, 0]), (gs.Box(0.5, 1, (1,)), [0.5]), (gs.Discrete(4), [0]), (gs.MultiBinary(2), [0, 0])],
)
def test_the_lapse_command_is_inside_the_action_space(space, expected) -> None:
    channels = ActionChannels(space)
    assert channels.lapse.tolist() == expected
    assert space.contains(channels.unflatten(channels.lapse)[0])


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (gs.Dict({"a": gs.Box(-1, 1, (200,)), "b": gs.Box(-1, 1, (200,))}), "400 values beside images.*357"),
        (gs.Tuple([gs.Discrete(2)]), "Tuple"),
        (gs.Discrete(2**25), "16777216"),
    ],
)
def test_what_does_not_fit_the_port_is_refused_with_its_name(space, words) -> None:
    with pytest.raises(LoopError, match=words):
        ObservationChannels(space)


class Stepping:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 0

    def now_ns(self) -> int:
        return self.now

    def sleep_until(self, at_ns: int) -> None:
        self.now = max(self.now, at_ns)


def test_a_late_grid_loses_points_and_never_replays_them() -> None:
    clock = Stepping()
    grid = Grid(clock, 100)
    assert grid.wait() == 100
    clock.now = 250
    assert (grid.wait(), clock.now, grid.missed) == (200, 250, 0)  # less than a period late: at once
    assert grid.wait() == 300
    clock.now = 745
    assert (grid.wait(), grid.missed) == (700, 3)
    assert (grid.wait(), clock.now) == (800, 800)


def test_the_environment_says_its_own_period() -> None:
    assert environment.period_ns(environment.make("CartPole-v1")) == 20_000_000
    assert environment.period_ns(environment.make("Pendulum-v1")) == 50_000_000
    assert environment.period_ns(environment.make("MountainCarContinuous-v0")) is None


def test_an_unknown_environment_is_one_clear_message() -> None:
    with pytest.raises(LoopError, match="NoSuchEnv-v0"):
        environment.make("NoSuchEnv-v0")
    with pytest.raises(LoopError, match="no_such_module"):
        environment.make("no_such_module:Env-v0")


def test_without_gymnasium_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gymnasium", None)
    with pytest.raises(MissingExtra, match=r"edgerl\[sim\]"):
        environment.make("CartPole-v1")


def test_a_plant_that_nobody_claims_ends(capsys) -> None:
    assert plant.main(["--env", "CartPole-v1", "--claim-timeout-s", "0"]) == 0
    listening, end = [read_line(line) for line in capsys.readouterr().out.splitlines()]
    assert (listening.state_channels, listening.command_channels, listening.period_ns) == (4, 1, 20_000_000)
    assert end == PlantEnd("end", "unclaimed", 0, {}, {})


def test_a_bad_environment_on_the_command_line_is_exit_1_without_traceback(capsys) -> None:
    assert plant.main(["--env", "Blackjack-v1"]) == 1
    assert "Tuple" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["", "{", "[]", '{"event":"other"}', '{"event":"end"}', json.dumps({"event": ["end"]})]
)
def test_a_line_that_is_no_plants_is_refused(line) -> None:
    with pytest.raises(EdgerlError):
        read_line(line)
