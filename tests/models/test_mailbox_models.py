"""The mailboxes under weak memory: every execution that C11 allows, of the core's own sources; Arm and futex in spin.

docs/decisions/0015-how-the-mailboxes-are-proven.md says what this proves and what it does not. A checker that cannot
refute proves nothing, so each order that the sources ask for is weakened, one at a time, and each step that matters is
taken out.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.core_build import SOURCES

MODELS = Path(__file__).parent
SCENARIOS = ["scenarios.c", "mailbox_scenarios.c", "loop_scenarios.c", "frame_scenarios.c", "kernel.c"]
UNITS = [
    *("mailbox.c", "datagram.c", "ring.c", "status.c", "requests.c", "ask.c", "policies.c", "switch.c", "inner.c"),
    *("envelope.c", "bucket.c", "assembler.c", "frame.c"),
]
SMALL = {
    "edgerl_names.h": [
        ("ERL_MAX_DATAGRAM 1472u", "ERL_MAX_DATAGRAM 16u"),
        ("ERL_MAX_COMMANDS 256u", "ERL_MAX_COMMANDS 1u"),
        ("ERL_MAX_STATES 357u", "ERL_MAX_STATES 4u"),
        ("ERL_MAX_OBSERVATION_BYTES 16384u", "ERL_MAX_OBSERVATION_BYTES 64u"),
        ("ERL_MAX_WINDOW 1024u", "ERL_MAX_WINDOW 64u"),
        ("ERL_MAX_ELEMENTS 1024u", "ERL_MAX_ELEMENTS 1u"),
        ("ERL_MAX_TERMS 64u", "ERL_MAX_TERMS 1u"),
        ("ERL_MAX_OPERATOR 16u", "ERL_MAX_OPERATOR 2u"),
        ("ERL_FRAME_BUFFERS 4u", "ERL_FRAME_BUFFERS 2u"),
    ],
    "edgerl_segments.h": [("    uint64_t sequence; /* the writer's own count, from 1 */\n", "")],
    "frame.c": [("define READS 4u", "define READS 2u")],
    "status.c": [("ERL_WORDS(erl_status)", "2u"), ("STATUS_READS 200u", "STATUS_READS 2u")],
    "ring.c": [("sizeof(erl_tick_header) + ", "")],
}
"""Sizes only: a copy that is mixed is mixed in two of its words already, so more of them show nothing new."""
ORDER = re.compile(r"memory_order_(?:acquire|release)")
PROVEN_BY = {
    "mailbox.c": ["bare", "successor", "action", "observation"],
    "ring.c": ["ring"],
    "status.c": ["status", "requests", "switch"],
    "requests.c": ["requests", "switch"],
    "frame.c": ["frame", "frame-of-state"],
}
UNNEEDED = {
    ("mailbox.c", "erl_action_ready"),
    ("mailbox.c", "erl_action_ready_epoch"),
    ("status.c", "erl_request_policies"),
    ("status.c", "erl_request_heartbeat"),
    ("status.c", "erl_policy_died"),
    ("requests.c", "dead"),
    ("requests.c", "heartbeat_missing"),
    ("requests.c", "watch_supervisor"),
    ("requests.c", "watch_policies"),
    ("requests.c", "erl_loop_poll_requests"),
}
"""Nothing else is ordered by these: they could be relaxed."""

SPIN, ARM_COMPILER = "spin", "aarch64-linux-gnu-gcc"

pytestmark = pytest.mark.slow


def copy_of_sources(folder: Path) -> Path:
    """Return a copy of the core whose records are small; fails when a size is said in another way than expected."""
    sources = Path(shutil.copytree(SOURCES, folder / "sources"))
    for file, pairs in SMALL.items():
        for whole, small in pairs:
            replace(sources / file, whole, small)
    return sources


def replace(path: Path, whole: str, other: str) -> None:
    text = path.read_text()
    assert whole in text, f"{path.name} has no '{whole}'"
    path.write_text(text.replace(whole, other))


def build(sources: Path, *flags: str, programs: list[str] = SCENARIOS, units: list[str] = UNITS) -> Path:
    out = sources / "checker"
    files = [
        *(MODELS / program for program in programs),
        MODELS / "weak_memory.c",
        MODELS / "explorer.c",
        *(sources / unit for unit in units),
    ]
    command = [*shlex.split(os.environ.get("CC", "cc")), "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2"]
    command += [
        "-U_FORTIFY_SOURCE",
        "-Wno-maybe-uninitialized",
        *flags,
        f"-I{MODELS}",
        f"-I{sources}",
        *map(str, files),
        "-lm",
        "-o",
        str(out),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return out


def explore(checker: Path, *scenarios: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([checker, *scenarios], check=False, capture_output=True, text=True, timeout=400)


def assert_refuted(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr
    assert "REFUTED" in done.stdout


def function_around(text: str, position: int) -> str:
    return re.findall(r"^[a-z].*?\b(\w+)\(", text[:position], flags=re.MULTILINE)[-1]


def orders() -> list[tuple[str, str, int]]:
    found = []
    for file in PROVEN_BY:
        text = (SOURCES / file).read_text()
        for number, match in enumerate(ORDER.finditer(text)):
            found.append((file, function_around(text, match.start()), number))
    return found


def test_the_checker_says_of_known_programs_what_rc11_says(tmp_path):
    tmp_path.joinpath("sources").mkdir()
    done = explore(build(tmp_path / "sources", programs=["litmus.c"], units=[]))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "scenarios",
    [
        [
            "bare",
            "successor",
            "observation",
            "datagram",
            "action",
            "round-trip",
            "status",
            "ring",
            "requests",
            "operator",
            "switch",
            "frame",
            "frame-successor",
            "frame-of-state",
        ],
        ["late-round-trip"],
    ],
    ids=["each", "late"],
)
def test_no_execution_mixes_a_copy_takes_a_stale_one_or_loses_a_wake_up(tmp_path, scenarios):
    done = explore(build(copy_of_sources(tmp_path)), *scenarios)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert done.stdout.count("holds in every execution") == len(scenarios)


@pytest.mark.parametrize(("file", "function", "number"), orders())
def test_each_order_is_needed_or_named_as_not_needed(tmp_path, file, function, number):
    sources = copy_of_sources(tmp_path)
    found = iter(range(1000))
    text = (sources / file).read_text()
    weak = ORDER.sub(lambda match: "memory_order_relaxed" if next(found) == number else match.group(), text)
    assert weak != text
    (sources / file).write_text(weak)
    done = explore(build(sources), *PROVEN_BY[file])
    if (file, function) in UNNEEDED:
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    else:
        assert_refuted(done)


POST = "erl_write_end(&mailbox->sequence);\n    erl_futex_wake(&mailbox->sequence);"
WAIT_WORD = "const uint32_t word = atomic_load_explicit(&mailbox->sequence, memory_order_relaxed);\n"


@pytest.mark.parametrize(
    ("file", "whole", "broken", "scenario"),
    [
        ("mailbox.c", "memory_order_relaxed) != before)", "memory_order_relaxed) != before && to == NULL)", "bare"),
        ("mailbox.c", "memory_order_relaxed) != at)", "memory_order_relaxed) != at && bytes == 0)", "observation"),
        ("mailbox.c", "if (before & 1u) {", "if (before & 1u & (before == 99u)) {", "bare"),
        ("mailbox.c", "memory_order_relaxed) | 1u", "memory_order_relaxed) + 1u", "successor"),
        ("ring.c", "- index < capacity ? ERL_OK", "- index < capacity + 9u ? ERL_OK", "ring"),
        ("frame.c", "since < ERL_FRAME_BUFFERS - 1u", "since < ERL_FRAME_BUFFERS", "frame"),
    ],
)
def test_each_look_at_the_sequence_is_needed(tmp_path, file, whole, broken, scenario):
    sources = copy_of_sources(tmp_path)
    replace(sources / file, whole, broken)
    assert_refuted(explore(build(sources), scenario))


PUBLISH = "atomic_store_explicit(&mailbox->published, number, memory_order_release);\n    "


@pytest.mark.parametrize(
    ("whole", "broken"),
    [
        ("    erl_futex_wake(&mailbox->published);\n", ""),
        (PUBLISH + "erl_futex_wake(&mailbox->published);", "erl_futex_wake(&mailbox->published);\n    " + PUBLISH),
    ],
    ids=["no wake", "wake before the frame is named"],
)
def test_each_step_that_wakes_whoever_waits_for_a_frame_is_needed(tmp_path, whole, broken):
    sources = copy_of_sources(tmp_path)
    replace(sources / "frame.c", whole, broken)
    assert_refuted(explore(build(sources), "frame-of-state"))


def test_a_frame_that_is_named_before_it_is_written_is_mixed_or_old(tmp_path):
    sources = copy_of_sources(tmp_path)
    replace(sources / "frame.c", PUBLISH, "")
    replace(
        sources / "frame.c", "    erl_write_begin(&to->sequence);", "    " + PUBLISH + "erl_write_begin(&to->sequence);"
    )
    assert_refuted(explore(build(sources), "frame"))


@pytest.mark.parametrize(
    ("whole", "broken"),
    [
        ("    erl_futex_wake(&mailbox->sequence);\n", ""),
        (POST, "\n    ".join(reversed(POST.split("\n    ")))),
    ],
    ids=["no wake", "wake before the end of the write"],
)
def test_each_step_of_the_wake_up_is_needed(tmp_path, whole, broken):
    sources = copy_of_sources(tmp_path)
    replace(sources / "mailbox.c", whole, broken)
    assert_refuted(explore(build(sources), "observation"))


def test_a_reader_that_looks_at_the_word_after_the_mailbox_misses_the_wake_up(tmp_path):
    sources = copy_of_sources(tmp_path)
    read = "const uint32_t answer = observation_read(mailbox, seen, header, record, bytes);\n"
    replace(sources / "mailbox.c", WAIT_WORD + "        " + read, read + "        " + WAIT_WORD)
    assert_refuted(explore(build(sources), "observation"))


def test_a_kernel_without_the_barrier_of_futex_wake_would_lose_a_wake_up(tmp_path):
    sources = copy_of_sources(tmp_path)
    assert_refuted(explore(build(sources, "-DMODEL_KERNEL_WITHOUT_BARRIER"), "observation"))


def check_in_spin(folder: Path, model: str, *switches: str, cycles: bool = False) -> str:
    """Return what the model's verifier says; with ``cycles`` about endless ones, else about assertions and ends."""
    if shutil.which(SPIN) is None:
        pytest.skip(f"{SPIN} is not installed")
    kind, arguments = ("-DNP", ["-l", "-f"]) if cycles else ("-DSAFETY", [])
    compiler = shlex.split(os.environ.get("CC", "cc"))
    for command in (
        [SPIN, "-a", *switches, str(MODELS / model)],
        [*compiler, "-w", "-O1", kind, "pan.c", "-o", "pan"],
        ["./pan", "-m100000", *arguments],
    ):
        done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "max search depth too small" not in done.stdout
    return done.stdout


def test_out_of_order_arm_instructions_mix_no_copy(tmp_path):
    assert "errors: 0" in check_in_spin(tmp_path, "mailbox_arm.pml")


@pytest.mark.parametrize(
    "switch", ["WORD_RELEASE=0", "END_RELEASE=0", "WORD_ACQUIRE=0", "SEQUENCE_ACQUIRE=0", "NEVER_ACCEPTED"]
)
def test_each_arm_instruction_that_orders_is_needed(tmp_path, switch):
    assert "assertion violated" in check_in_spin(tmp_path, "mailbox_arm.pml", f"-D{switch}")


def test_a_waiting_reader_always_gets_the_newest_observation(tmp_path):
    assert "errors: 0" in check_in_spin(tmp_path, "futex.pml")
    assert "errors: 0" in check_in_spin(tmp_path, "futex.pml", cycles=True)


@pytest.mark.parametrize("switch", ["BARE_WAKE", "BARE_WAIT", "WAKE_FIRST", "LATE_WORD"])
def test_each_part_of_the_handshake_is_needed(tmp_path, switch):
    assert "invalid end state" in check_in_spin(tmp_path, "futex.pml", f"-D{switch}=1").split("Full statespace")[0]


def test_a_reader_that_does_not_sleep_spins_forever_beside_a_dead_writer(tmp_path):
    assert "non-progress cycle" in check_in_spin(tmp_path, "futex.pml", "-DSPINS=1", cycles=True).split("Full")[0]


def test_the_arm_compiler_makes_the_instructions_of_the_arm_model(tmp_path):
    if shutil.which(ARM_COMPILER) is None:
        pytest.skip(f"{ARM_COMPILER} is not installed")
    out = tmp_path / "mailbox.s"
    command = [ARM_COMPILER, "-std=c11", "-O2", "-S", str(SOURCES / "mailbox.c"), "-o", str(out)]
    subprocess.run(command, check=True, timeout=60)
    bodies = dict(re.findall(r"^(erl_\w+):\n(.*?)^\t\.size", out.read_text(), flags=re.MULTILINE | re.DOTALL))
    used = {
        name: set(re.findall(r"^\t(stlr|ldap?r|st\w+|ld\w+)\t", body, re.MULTILINE)) for name, body in bodies.items()
    }
    assert used["erl_words_store"] == {"ldr", "stlr"}  # from the caller's memory, to the mailbox
    assert used["erl_words_load"] in ({"ldar", "str"}, {"ldapr", "str"})
    assert used["erl_write_end"] == {"ldr", "stlr"}
    assert used["erl_write_begin"] == {"ldr", "str"}
    assert used["erl_read_once"] & {"ldar", "ldapr"}
