"""A datagram's mailbox: the newest wins, and a writer that dies, stops, lies or babbles costs a bounded time."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.runtime import core, structs
from edgerl.runtime.enums import DATAGRAM_MAGIC, DATAGRAM_VERSION, MAX_DATAGRAM, Result
from tests.core_build import FLAGS, SOURCES, compile_c

MS = 1_000_000
BYTES = ctypes.sizeof(structs.DatagramMailbox)


class Reader:
    """One end of a mailbox."""

    def __init__(self, mailbox: structs.DatagramMailbox, room: int = MAX_DATAGRAM + 1) -> None:
        self.mailbox = mailbox  # lives as long as its reader
        self.address = ctypes.addressof(mailbox)
        self.seen = ctypes.c_uint32(0)
        self.buffer = ctypes.create_string_buffer(room)

    def take(self, timeout_ns: int = 0) -> bytes:
        until_ns = time.monotonic_ns() + timeout_ns if timeout_ns else 0
        return core.take_datagram(self.address, self.seen, self.buffer, until_ns)


def posted(*datagrams: bytes) -> structs.DatagramMailbox:
    mailbox = structs.DatagramMailbox()
    core.create_datagram_mailbox(ctypes.addressof(mailbox))
    for data in datagrams:
        assert core.post_datagram(ctypes.addressof(mailbox), data) == Result.OK
    return mailbox


def test_a_new_mailbox_says_what_it_is_and_is_empty():
    mailbox = posted()
    assert (mailbox.magic, mailbox.version, mailbox.sequence) == (DATAGRAM_MAGIC, DATAGRAM_VERSION, 0)
    assert Reader(mailbox).take() == b""


@given(st.lists(st.binary(min_size=1, max_size=MAX_DATAGRAM), min_size=1, max_size=3))
def test_the_newest_datagram_is_read_once_and_bit_for_bit(datagrams):
    reader = Reader(mailbox := posted(*datagrams))
    assert reader.take() == datagrams[-1]
    assert reader.take() == b""
    core.post_datagram(ctypes.addressof(mailbox), datagrams[0])
    assert reader.take() == datagrams[0]


@pytest.mark.parametrize("size", [1, 7, 8, 9, MAX_DATAGRAM - 1, MAX_DATAGRAM])
def test_no_byte_is_left_behind(size):
    mailbox = posted(b"\xff" * MAX_DATAGRAM)
    data = bytes(1 + index % 255 for index in range(size))
    core.post_datagram(ctypes.addressof(mailbox), data)
    assert Reader(mailbox).take() == data


def test_a_datagram_that_is_too_long_is_not_posted():
    mailbox = posted(b"before")
    assert core.post_datagram(ctypes.addressof(mailbox), bytes(MAX_DATAGRAM + 1)) == Result.BAD
    assert Reader(mailbox).take() == b"before"
    assert core.post_datagram(ctypes.addressof(mailbox), b"x" * MAX_DATAGRAM) == Result.OK


def test_an_empty_datagram_is_one_that_is_too_short_and_not_none():
    assert len(Reader(posted(b"")).take()) == 1


def test_a_reader_with_less_room_is_told_how_long_it_was():
    mailbox, buffer, seen = posted(b"0123456789"), ctypes.create_string_buffer(b"\xff" * 8), ctypes.c_uint32(0)
    arguments = ctypes.addressof(mailbox), ctypes.addressof(seen), ctypes.addressof(buffer), 4, 0
    assert core.library().erl_datagram_take(*arguments) == 10
    assert buffer.raw[:5] == b"0123\xff"


@pytest.mark.parametrize("claimed", [MAX_DATAGRAM + 1, 2**31, 2**32 - 1])
def test_a_claimed_size_that_cannot_be_reads_nothing_beyond_the_mailbox(claimed):
    mailbox = posted(b"x")
    mailbox.words[0] = claimed
    buffer, seen = ctypes.create_string_buffer(2 * MAX_DATAGRAM), ctypes.c_uint32(0)
    arguments = ctypes.addressof(mailbox), ctypes.addressof(seen), ctypes.addressof(buffer), len(buffer), 0
    answer = core.library().erl_datagram_take(*arguments)
    assert answer == MAX_DATAGRAM + 1  # longer than any datagram: it is dropped for its length


def test_a_writer_that_died_half_way_costs_the_deadline_and_its_successor_is_read():
    mailbox = posted(b"first")
    mailbox.sequence |= 1
    reader = Reader(mailbox)
    before_ns = time.monotonic_ns()
    assert reader.take(20 * MS) == b""
    assert 20 * MS <= time.monotonic_ns() - before_ns < 2_000 * MS
    assert reader.take() == b""
    core.post_datagram(ctypes.addressof(mailbox), b"second")
    assert reader.take() == b"second"


def test_nothing_that_comes_costs_the_deadline():
    before_ns = time.monotonic_ns()
    assert Reader(posted()).take(20 * MS) == b""
    assert time.monotonic_ns() - before_ns >= 20 * MS


def test_a_reader_that_waits_wakes_at_the_post_and_lets_other_threads_run():
    reader, found = Reader(mailbox := posted()), []
    thread = threading.Thread(target=lambda: found.append(reader.take(60_000 * MS)), daemon=True)
    thread.start()
    thread.join(timeout=0.05)  # long enough for it to be asleep in the kernel; the test holds if it is not
    core.post_datagram(ctypes.addressof(mailbox), b"news")
    thread.join(timeout=5)
    assert found == [b"news"]


def test_a_read_only_mapping_is_enough_to_read():
    descriptor = os.memfd_create("datagram")
    os.ftruncate(descriptor, BYTES)
    with mmap.mmap(descriptor, 0) as writable, mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as read_only:
        os.close(descriptor)
        seen, buffer = ctypes.c_uint32(0), ctypes.create_string_buffer(MAX_DATAGRAM + 1)
        until_ns = time.monotonic_ns() + MS
        assert core.take_datagram(core.address(read_only), seen, buffer, until_ns) == b""
        core.post_datagram(core.address(writable), b"news")
        assert core.take_datagram(core.address(read_only), seen, buffer, until_ns) == b"news"


BABBLER = """
#include "edgerl_core.h"
#include <stdlib.h>
#include <sys/mman.h>

int main(int count, char **arguments) {
    (void)count;
    erl_datagram_mailbox *mailbox =
        mmap(NULL, sizeof *mailbox, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(arguments[1]), 0);
    for (;;) {
        atomic_fetch_add_explicit(&mailbox->sequence, 2u, memory_order_release);
    }
}
"""


def test_a_reader_gives_a_writer_up_that_babbles(tmp_path):
    """It takes both to run at the same time for some microseconds; on a busy machine that may take a while."""
    source = tmp_path / "babbler.c"
    source.write_text(BABBLER)
    compile_c(*FLAGS, f"-I{SOURCES}", str(source), "-o", str(tmp_path / "babbler"))
    descriptor = os.memfd_create("datagram")
    os.ftruncate(descriptor, BYTES)
    with mmap.mmap(descriptor, 0) as mapped:
        address, seen = core.address(mapped), ctypes.c_uint32(0)
        buffer = ctypes.create_string_buffer(MAX_DATAGRAM + 1)
        with subprocess.Popen([tmp_path / "babbler", str(descriptor)], pass_fds=[descriptor]) as babbler:
            try:
                until, gave_up = time.monotonic() + 60, False
                while not gave_up and time.monotonic() < until:
                    deadline_ns = time.monotonic_ns() + 20 * MS
                    data = core.take_datagram(address, seen, buffer, deadline_ns)
                    gave_up = data == b"" and time.monotonic_ns() < deadline_ns
                assert gave_up
            finally:
                babbler.kill()
    os.close(descriptor)


OVERTAKEN = """
#include "internal.h"
#include <stdio.h>

static unsigned copies;

uint32_t erl_read_once(const _Atomic uint32_t *sequence, uint32_t *at, void *to, const _Atomic uint64_t *from,
                       size_t words) {
    (void)sequence, (void)at, (void)to, (void)from, (void)words;
    copies++;
    return ERL_TORN;
}
uint64_t erl_clock_now(void) { return 0; }
uint32_t erl_futex_wait(const _Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns) {
    (void)word, (void)seen, (void)deadline_ns;
    return ERL_OK;
}
void erl_futex_wake(_Atomic uint32_t *word) { (void)word; }
void erl_write_begin(_Atomic uint32_t *sequence) { (void)sequence; }
void erl_write_end(_Atomic uint32_t *sequence) { (void)sequence; }
void erl_words_store(_Atomic uint64_t *to, const void *from, size_t words) { (void)to, (void)from, (void)words; }

int main(int count, char **arguments) {
    (void)arguments;
    static erl_datagram_mailbox mailbox;
    uint32_t seen = 0;
    char buffer[ERL_MAX_DATAGRAM];
    mailbox.sequence = count > 1; /* with an argument: a write that never ends, and wakes its reader for nothing */
    const int32_t size = erl_datagram_take(&mailbox, &seen, buffer, sizeof buffer, UINT64_MAX);
    printf("%d %u", size, copies);
}
"""


@pytest.mark.parametrize("under_way", [[], ["under way"]])
def test_a_writer_that_overtakes_every_copy_costs_a_reader_so_many_and_no_more(under_way, tmp_path):
    source, program = tmp_path / "overtaken.c", tmp_path / "overtaken"
    source.write_text(OVERTAKEN)
    compile_c(*FLAGS, f"-I{SOURCES}", str(source), str(SOURCES / "datagram.c"), "-o", str(program))
    done = subprocess.run([program, *under_way], check=True, capture_output=True, text=True, timeout=20)
    assert done.stdout == "0 16"
