"""Mailboxes, ring and status: what a reader gets when the writer is fast, slow, dead or half-way."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import time

import numpy as np
import pytest

from edgerl.runtime import core, structs
from edgerl.runtime.enums import MAX_COMMANDS, Mode, Request, Result
from tests.core_world import MS, Answer, World, enter, small_config


class Waiter:
    """The policy's side of an observation mailbox."""

    def __init__(self, address: int, size: int = 64) -> None:
        self.address = address
        self.seen = ctypes.c_uint32(0)
        self.header = structs.ObservationHeader()
        self.record = ctypes.create_string_buffer(max(size, 1))
        self.size = size

    def wait(self, timeout_ns: int = 0) -> Result:
        return core.wait_observation(
            self.address, self.seen, self.header, ctypes.addressof(self.record), self.size, timeout_ns=timeout_ns
        )


def posted(sequence: int = 2) -> structs.ObservationMailbox:
    """Return a mailbox that a guardian has posted to once."""
    mailbox = structs.ObservationMailbox(sequence=sequence)
    header = structs.ObservationHeader(41, 5, 6, 1, 64)
    ctypes.memmove(mailbox.header, ctypes.byref(header), ctypes.sizeof(header))
    ctypes.memmove(mailbox.record, bytes(range(64)), 64)
    return mailbox


def test_an_observation_is_read_once():
    mailbox = posted()
    waiter = Waiter(ctypes.addressof(mailbox))
    assert waiter.wait() == Result.OK
    assert (waiter.header.sequence, waiter.header.episode) == (41, 1)
    assert waiter.record.raw == bytes(range(64))
    assert waiter.wait() == Result.TIMEOUT


def test_nothing_posted_times_out_when_it_says():
    mailbox = structs.ObservationMailbox()
    before = time.monotonic_ns()
    assert Waiter(ctypes.addressof(mailbox)).wait(20 * MS) == Result.TIMEOUT
    assert time.monotonic_ns() - before >= 20 * MS


def test_a_post_that_never_ends_times_out_instead_of_hanging():
    mailbox = posted(sequence=3)
    before = time.monotonic_ns()
    assert Waiter(ctypes.addressof(mailbox)).wait(20 * MS) == Result.TIMEOUT
    assert time.monotonic_ns() - before < 2_000 * MS


@pytest.mark.parametrize("size", [8, 128, 63, 16384 + 8])
def test_an_observation_of_another_size_is_bad(size):
    mailbox = posted()
    assert Waiter(ctypes.addressof(mailbox), size).wait() == Result.BAD


def test_waiting_lets_other_threads_run_and_wakes_at_the_post():
    world = World()
    waiter = Waiter(world.at["observation"])
    found = []
    thread = threading.Thread(target=lambda: found.append(waiter.wait(5_000 * MS)))
    thread.start()
    thread.join(timeout=0.05)  # long enough for it to be asleep in the kernel; the test holds if it is not
    world.policy = lambda header, record: Answer([0.1, 0.2])
    world.arm()
    thread.join(timeout=5)
    assert found == [Result.OK]
    assert waiter.header.sequence == 1


def test_a_read_only_mapping_is_enough_to_wait():
    descriptor = os.memfd_create("observation")
    os.ftruncate(descriptor, ctypes.sizeof(structs.ObservationMailbox))
    with mmap.mmap(descriptor, 0) as writable, mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as read_only:
        os.close(descriptor)
        mailbox = posted()
        waiter = Waiter(core.address(read_only))
        assert waiter.wait(1 * MS) == Result.TIMEOUT
        writable[: ctypes.sizeof(mailbox)] = bytes(mailbox)
        assert waiter.wait() == Result.OK
        assert waiter.wait(1 * MS) == Result.TIMEOUT


def test_an_action_of_too_many_values_is_not_posted():
    mailbox = structs.ActionMailbox()
    values = np.zeros(MAX_COMMANDS + 1, np.float32)
    for good, bad in ((values[1:], values), (values[:1], None)):
        assert core.post_action(ctypes.addressof(mailbox), 1, 1, values, raw=bad) == Result.BAD
        assert core.post_action(ctypes.addressof(mailbox), 1, 1, good, raw=values) == Result.BAD
    assert mailbox.sequence == 0
    assert core.post_action(ctypes.addressof(mailbox), 1, 1, values[1:], raw=values[1:]) == Result.OK
    assert mailbox.sequence == 2


def test_an_action_is_whole_in_the_mailbox():
    mailbox = structs.ActionMailbox()
    values = np.array([1.0, 2.0], np.float32)
    core.post_action(ctypes.addressof(mailbox), 3, 9, values, raw=np.array([5.0], np.float32), infer_ns=55)
    action = structs.Action.from_buffer_copy(bytes(mailbox.words))
    assert (action.epoch, action.sequence, action.infer_ns, action.count) == (3, 9, 55, 2)
    assert list(action.values)[:3] == [1.0, 2.0, 0.0]
    assert (action.raw_count, list(action.raw)[:2]) == (1, [5.0, 0.0])


def test_a_writer_that_died_half_way_does_not_lock_its_successor_out():
    mailbox = structs.ActionMailbox(sequence=5)
    values = np.zeros(1, np.float32)
    core.post_action(ctypes.addressof(mailbox), 1, 1, values)
    assert mailbox.sequence == 6


def test_readiness_names_an_epoch():
    mailbox = structs.ActionMailbox()
    assert core.ready_epoch(ctypes.addressof(mailbox)) == 0
    core.say_ready(ctypes.addressof(mailbox), 12, median_ns=5, worst_ns=2**40, measured=200)
    assert core.ready_epoch(ctypes.addressof(mailbox)) == 12
    assert core.inference_times(ctypes.addressof(mailbox)) == (5, 2**40, 200)


def read(world: World, index: int, size: int | None = None) -> Result:
    record_bytes = structs.Ring.from_buffer(world.ring).record_bytes
    raw = ctypes.create_string_buffer(record_bytes)
    return core.read_record(world.at["ring"], index, ctypes.addressof(raw), record_bytes if size is None else size)


def test_the_ring_keeps_the_newest_and_says_which_are_lost():
    world = World(small_config(ring_capacity=4))
    world.ticks(10)
    assert core.ring_head(world.at["ring"]) == 10
    assert [read(world, i) for i in range(11)] == [Result.LOST] * 7 + [Result.OK] * 3 + [Result.EMPTY]
    assert [world.record(i).header.tick for i in (7, 8, 9)] == [7, 8, 9]


def test_a_ring_refuses_a_buffer_that_is_too_small_and_a_header_of_nothing():
    world = World()
    world.ticks(1)
    record_bytes = structs.Ring.from_buffer(world.ring).record_bytes
    assert read(world, 0, record_bytes - 1) == Result.BAD
    structs.Ring.from_buffer(world.ring).capacity = 0
    assert read(world, 0) == Result.BAD


def test_the_rings_size_follows_the_channels():
    config = small_config(state_count=7, command_count=2, action_count=1, operator_count=3, ring_capacity=3)
    record = ctypes.sizeof(structs.TickHeader) + 4 * (7 + 2 + 2 * 1 + 3)
    assert core.ring_bytes(config) == ctypes.sizeof(structs.Ring) + 3 * ((record + 7) // 8 * 8)


def test_a_status_that_is_never_finished_is_none():
    world = enter(Mode.ACTIVE)
    world.status.sequence |= 1
    assert core.read_status(world.at["status"]) is None


def test_segments_carry_their_magic_and_version():
    world = World()
    for name in ("status", "requests", "observation", "action"):
        segment = getattr(world, name)
        assert (
            bytes(segment)[:4]
            == {"status": b"ERLS", "requests": b"ERLQ", "observation": b"ERLO", "action": b"ERLA"}[name]
        )
        assert segment.version == 2
    ring = structs.Ring.from_buffer(world.ring)
    assert bytes(ring)[:4] == b"ERLR"
    assert (ring.version, ring.capacity, ring.state_count, ring.command_count, ring.action_count) == (2, 64, 3, 2, 2)


def test_requests_are_counted_so_that_none_is_lost():
    requests = structs.Requests()
    for _ in range(3):
        core.request(ctypes.addressof(requests), Request.RESET)
    core.heartbeat(ctypes.addressof(requests))
    core.set_policies(ctypes.addressof(requests), 2**63, 5)
    assert list(requests.counters) == [0, 0, 0, 3, 0, 0]
    assert (requests.heartbeat, requests.acting, requests.candidate) == (1, 2**63, 5)
