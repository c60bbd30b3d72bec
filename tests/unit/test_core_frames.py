"""The frame mailbox: what a reader gets when the camera is fast, slow, dead, half-way, or another one."""

from __future__ import annotations

import ctypes
import math
import threading
import time

import numpy as np
import pytest

from edgerl.runtime import core, structs
from edgerl.runtime.enums import (
    FRAME_BUFFERS,
    MAX_FRAME_BYTES,
    Clock,
    Dtype,
    FrameVerdict,
    Mode,
    Request,
    Result,
    StateFlag,
)
from edgerl.runtime.frame_structs import Frame, FrameBuffer, FrameInput, FrameMailbox
from tests.core_world import World, small_config

MS = 1_000_000
EPOCH = 3
AGE = 100 * MS


class Camera:
    """A frame mailbox in ordinary memory, and the writer's side of it."""

    def __init__(self, size: int = 100) -> None:
        self.size = size
        whole = core.library().erl_frame_segment_bytes(size)
        self.memory = np.zeros(whole + 64, np.uint8)
        self.at = self.memory.ctypes.data + -self.memory.ctypes.data % 64
        self.sequence = 0
        core.library().erl_frame_create(self.at, size)
        core.library().erl_frame_admit(self.at, EPOCH)

    @property
    def mailbox(self) -> FrameMailbox:
        return FrameMailbox.from_address(self.at)

    def buffer(self, number: int) -> FrameBuffer:
        stride = ctypes.sizeof(FrameBuffer) + -(-self.size // 64) * 64
        return FrameBuffer.from_address(self.at + ctypes.sizeof(FrameMailbox) + number % FRAME_BUFFERS * stride)

    def post(self, content: np.ndarray | int, *, age_ns: int = 0, state: int = 0, epoch: int = EPOCH) -> Result:
        content = np.full(self.size, content, np.uint8) if isinstance(content, int) else content
        assert content.nbytes == self.size
        self.sequence += 1
        frame = Frame(epoch, self.sequence, time.monotonic_ns() - age_ns, state)
        post = core.library().erl_frame_post
        return Result(post(self.at, ctypes.addressof(frame), content.ctypes.data, self.size))


class Policy:
    """The reader's side: an input for each camera, and the account in its action mailbox."""

    def __init__(self, *cameras: Camera, dtype: Dtype = Dtype.UINT8) -> None:
        self.arrays = [np.zeros(camera.size, np.uint8) for camera in cameras]
        self.inputs = (FrameInput * max(1, len(cameras)))()
        for place, camera, array in zip(self.inputs, cameras, self.arrays, strict=False):
            place.mailbox, place.to, place.bytes, place.dtype = camera.at, array.ctypes.data, camera.size, dtype
        self.count = len(cameras)
        self.account = structs.ActionMailbox()

    def take(
        self, *, clock: Clock = Clock.GRID, stamp_ns: int = 0, within_ns: int = 0, max_age_ns: int = AGE
    ) -> FrameVerdict:
        header = structs.ObservationHeader(stamp_ns=stamp_ns, deadline_ns=time.monotonic_ns() + within_ns, clock=clock)
        take = core.library().erl_frames_take
        places = ctypes.addressof(self.inputs), self.count, ctypes.addressof(header)
        return FrameVerdict(take(*places, max_age_ns, ctypes.addressof(self.account)))

    def counted(self) -> dict[FrameVerdict, int]:
        return {verdict: count for verdict, count in zip(FrameVerdict, self.account.frames, strict=True) if count}


def read(camera: Camera) -> tuple[Result, Frame, np.ndarray]:
    frame, content = Frame(), np.zeros(camera.size, np.uint8)
    answer = core.library().erl_frame_read(camera.at, ctypes.addressof(frame), content.ctypes.data, camera.size)
    return Result(answer), frame, content


@pytest.mark.parametrize("size", [1, 7, 8, 63, 64, 65, 4096])
def test_a_frame_of_any_size_arrives_whole_and_touches_nothing_beside_it(size):
    camera = Camera(size)
    rng = np.random.default_rng(size)
    for _ in range(2 * FRAME_BUFFERS + 1):
        content = rng.integers(0, 256, size, dtype=np.uint8)
        assert camera.post(content) == Result.OK
        guarded = np.full(size + 16, 0xAA, np.uint8)
        frame = Frame()
        answer = core.library().erl_frame_read(camera.at, ctypes.addressof(frame), guarded.ctypes.data + 8, size)
        assert (answer, frame.sequence) == (Result.OK, camera.sequence)
        assert np.array_equal(guarded[8:-8], content)
        assert (guarded[:8] == 0xAA).all()
        assert (guarded[-8:] == 0xAA).all()
    end = camera.at - camera.memory.ctypes.data + core.library().erl_frame_segment_bytes(size)
    assert not camera.memory[end:].any()


def test_a_segment_holds_the_header_and_every_buffer_on_lines_of_their_own():
    size = core.library().erl_frame_segment_bytes
    assert [size(1), size(64), size(65)] == [64 + 4 * 128, 64 + 4 * 128, 64 + 4 * 192]
    assert size(MAX_FRAME_BYTES) == 64 + 4 * (64 + MAX_FRAME_BYTES)
    assert [size(0), size(MAX_FRAME_BYTES + 1), size(2**64 - 1)] == [0, 0, 0]


def test_a_mailbox_says_what_it_is():
    mailbox = Camera(100).mailbox
    assert bytes(mailbox)[:4] == b"ERLF"
    assert (mailbox.version, mailbox.frame_bytes, mailbox.buffers, mailbox.epoch) == (1, 100, FRAME_BUFFERS, EPOCH)
    assert mailbox.published == 0


def test_nothing_was_written_yet():
    assert read(Camera())[0] == Result.EMPTY


def test_the_newest_frame_is_read_as_often_as_one_likes():
    camera = Camera()
    for value in range(1, 7):
        camera.post(value, state=10 * value)
    for _ in range(2):
        answer, frame, content = read(camera)
        assert (answer, set(content)) == (Result.OK, {6})
        assert (frame.epoch, frame.sequence, frame.state_stamp_ns) == (EPOCH, 6, 60)


def test_a_writer_that_was_replaced_writes_nothing_any_more():
    camera = Camera()
    camera.post(1)
    core.library().erl_frame_admit(camera.at, EPOCH + 1)
    before = camera.memory.copy()
    assert camera.post(2) == Result.BAD
    assert np.array_equal(before, camera.memory)
    assert camera.post(3, epoch=EPOCH + 1) == Result.OK
    assert (read(camera)[1].epoch, set(read(camera)[2])) == (EPOCH + 1, {3})


def test_a_writer_that_died_half_way_leaves_the_frame_before_whole_and_its_successor_goes_on():
    camera = Camera()
    camera.post(1)
    half = camera.buffer(2)
    half.sequence |= 1
    ctypes.memset(ctypes.addressof(half) + ctypes.sizeof(half), 2, camera.size // 2)
    assert (read(camera)[0], set(read(camera)[2])) == (Result.OK, {1})
    core.library().erl_frame_admit(camera.at, EPOCH + 1)
    camera.post(3, epoch=EPOCH + 1)
    assert (read(camera)[0], set(read(camera)[2])) == (Result.OK, {3})
    assert half.sequence % 2 == 0


def test_a_writer_that_lies_about_the_newest_buffer_costs_a_bounded_number_of_reads():
    camera = Camera()
    camera.post(1)
    camera.mailbox.published = 2
    assert read(camera)[0] == Result.TORN
    camera.buffer(2).sequence = 5
    assert read(camera)[0] == Result.TORN
    assert Policy(camera).take() == FrameVerdict.TORN


def test_a_frame_that_is_young_enough_goes_into_the_runners_input():
    camera = Camera()
    policy = Policy(camera)
    assert policy.take() == FrameVerdict.MISSING
    camera.post(5, age_ns=AGE // 2)
    assert policy.take() == FrameVerdict.TAKEN
    assert set(policy.arrays[0]) == {5}
    assert policy.counted() == {FrameVerdict.MISSING: 1, FrameVerdict.TAKEN: 1}
    assert AGE // 2 <= policy.account.oldest_frame_ns < AGE
    camera.post(6)
    assert policy.take() == FrameVerdict.TAKEN
    assert policy.account.oldest_frame_ns >= AGE // 2


@pytest.mark.parametrize("age_ns", [AGE + 1, 3600 * 1000 * MS, -60_000 * MS], ids=["old", "an hour", "of the future"])
def test_a_frame_of_another_time_is_not_taken(age_ns):
    camera = Camera()
    camera.post(1, age_ns=age_ns)
    policy = Policy(camera)
    assert policy.take() == FrameVerdict.STALE
    assert policy.counted() == {FrameVerdict.STALE: 1}
    assert policy.account.oldest_frame_ns == 0


def test_one_stale_camera_of_two_is_enough():
    left, right = Camera(), Camera(16)
    left.post(1)
    right.post(2, age_ns=2 * AGE)
    policy = Policy(left, right)
    assert policy.take() == FrameVerdict.STALE
    right.post(3, age_ns=AGE // 2)
    assert policy.take() == FrameVerdict.TAKEN
    assert [set(array) for array in policy.arrays] == [{1}, {3}]
    assert policy.counted() == {FrameVerdict.STALE: 1, FrameVerdict.TAKEN: 1}
    assert policy.account.oldest_frame_ns >= AGE // 2


def test_behind_a_stale_camera_no_other_is_looked_at():
    left, right = Camera(), Camera(16)
    left.post(1, age_ns=2 * AGE)
    right.post(2)
    policy = Policy(left, right)
    assert policy.take() == FrameVerdict.STALE
    assert not policy.arrays[1].any()


def test_a_frame_that_is_overwritten_while_it_is_read_is_not_taken():
    camera, frame = Camera(8), Frame()
    camera.post(1)
    sequence = ctypes.addressof(camera.buffer(1))  # the copy itself changes it, as a fast writer would meanwhile
    assert core.library().erl_frame_read(camera.at, ctypes.addressof(frame), sequence, 8) == Result.TORN


@pytest.mark.parametrize(
    ("meanwhile", "answer"), [(0, Result.OK), (FRAME_BUFFERS - 2, Result.OK), (FRAME_BUFFERS - 1, Result.TORN)]
)
def test_a_frame_whose_buffer_is_the_next_to_be_written_is_not_taken(meanwhile, answer):
    """It could be a later one already, and the frame that is read after it one from before it."""
    camera, frame = Camera(4), Frame()
    camera.post(np.array([1 + meanwhile], np.uint32))
    published = camera.at + FrameMailbox.published.offset  # the copy itself counts on, as a fast writer would meanwhile
    assert core.library().erl_frame_read(camera.at, ctypes.addressof(frame), published, 4) == answer


def test_a_policy_without_frames_takes_none():
    policy = Policy()
    assert policy.take() == FrameVerdict.TAKEN
    assert policy.account.oldest_frame_ns == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 24])
def test_floats_that_are_not_finite_are_not_taken(value, place):
    camera = Camera()
    image = np.zeros(25, np.float32)
    image[place] = value
    camera.post(image)
    policy = Policy(camera, dtype=Dtype.FLOAT32)
    assert policy.take() == FrameVerdict.NOT_FINITE
    image[place] = 3e38
    camera.post(image)
    assert policy.take() == FrameVerdict.TAKEN
    assert policy.counted() == {FrameVerdict.NOT_FINITE: 1, FrameVerdict.TAKEN: 1}


@pytest.mark.parametrize("dtype", [Dtype.UINT8, Dtype.INT32])
def test_integers_are_always_finite(dtype):
    camera = Camera()
    camera.post(255)
    assert Policy(camera, dtype=dtype).take() == FrameVerdict.TAKEN


def test_in_lockstep_the_frame_is_of_the_observed_state_whatever_its_age():
    camera = Camera()
    policy = Policy(camera)
    assert policy.take(clock=Clock.LOCKSTEP, stamp_ns=70) == FrameVerdict.MISSING
    camera.post(1, state=60, age_ns=10 * AGE)
    assert policy.take(clock=Clock.LOCKSTEP, stamp_ns=70) == FrameVerdict.OTHER_STATE
    camera.post(2, state=70, age_ns=10 * AGE)
    assert policy.take(clock=Clock.LOCKSTEP, stamp_ns=70) == FrameVerdict.TAKEN
    assert set(policy.arrays[0]) == {2}
    camera.mailbox.published += 1
    assert policy.take(clock=Clock.LOCKSTEP, stamp_ns=70) == FrameVerdict.TORN
    assert policy.counted() == dict.fromkeys(policy.counted(), 1)
    assert policy.account.oldest_frame_ns == 0


def test_in_lockstep_it_waits_for_the_frame_of_the_state():
    camera = Camera()
    policy = Policy(camera)
    camera.post(1, state=60)
    found = []
    thread = threading.Thread(
        target=lambda: found.append(policy.take(clock=Clock.LOCKSTEP, stamp_ns=70, within_ns=20_000 * MS))
    )
    thread.start()
    thread.join(timeout=0.05)  # long enough for it to be asleep in the kernel; the test holds if it is not
    assert not found
    camera.post(2, state=70)
    thread.join(timeout=10)
    assert found == [FrameVerdict.TAKEN]
    assert set(policy.arrays[0]) == {2}


def test_in_lockstep_it_waits_until_the_deadline_and_not_longer():
    camera = Camera()
    camera.post(1, state=60)
    before = time.monotonic_ns()
    verdict = Policy(camera).take(clock=Clock.LOCKSTEP, stamp_ns=70, within_ns=20 * MS)
    assert verdict == FrameVerdict.OTHER_STATE
    assert 20 * MS <= time.monotonic_ns() - before < 5_000 * MS


def test_in_lockstep_a_camera_that_babbles_is_looked_at_a_bounded_number_of_times():
    camera = Camera()
    policy = Policy(camera)
    over = threading.Event()

    def babble() -> None:
        while not over.is_set():
            camera.post(1, state=60)

    thread = threading.Thread(target=babble)
    thread.start()
    try:
        verdict = policy.take(clock=Clock.LOCKSTEP, stamp_ns=70, within_ns=60_000 * MS)
    finally:
        over.set()
        thread.join()
    assert verdict in (FrameVerdict.OTHER_STATE, FrameVerdict.TORN)


@pytest.mark.parametrize(
    ("flags", "clock"), [(StateFlag(0), Clock.GRID), (StateFlag.LOCKSTEP, Clock.LOCKSTEP)], ids=["grid", "lockstep"]
)
def test_an_observation_says_whether_its_stamp_is_that_of_the_state(flags, clock):
    world = World()
    world.arm(flags)
    world.ticks(1, flags)
    header = world.observations[-1]
    assert header.clock == clock
    assert (header.stamp_ns == world.stamp) == (clock == Clock.LOCKSTEP)


def test_the_loop_drives_a_policy_that_observes_only_images():
    world = World(small_config(state_count=0, element_count=0, term_count=0, observation_bytes=0))
    for wanted in (None, Request.ARM, None):
        if wanted is not None:
            world.request(wanted)
        world.state([])
        assert world.tick() == Result.OK
    assert world.now_mode() == Mode.ACTIVE
    assert [header.bytes for header in world.observations] == [0, 0]
    assert world.record().state.size == 0
