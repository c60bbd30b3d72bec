"""The commands that mend, and reading the files that they are drawn from."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.deploy.doctor.check import Unread
from edgerl.deploy.doctor.tree import MAX_BYTES, Tree, cpu_list, parse_cpus
from tests import machines
from tests.machines import EPERM, NO_RIGHTS, of, plant


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("boot/extlinux/extlinux.conf", "LABEL a\n# APPEND\n\tAPPEND ro\n", "LABEL a\n# APPEND\n\tAPPEND ro WORDS\n"),
        ("boot/firmware/cmdline.txt", "console=tty1 rootwait\n", "console=tty1 rootwait WORDS\n"),
        ("etc/default/grub", 'A=1\nGRUB_CMDLINE_LINUX="b"\n', 'A=1\nGRUB_CMDLINE_LINUX="WORDS b"\n'),
    ],
)  # fmt: skip
def test_the_command_for_the_boot_loader_edits_its_file(machine, tmp_path, file, before, after):
    changes = {file: before, "usr/sbin/update-grub": ""}
    isolation = of(machine(machines.laptop(), changes, without="etc/default"), "isolation")
    words = re.search(r"isolcpus=\S+ nohz_full=\S+ rcu_nocbs=\S+ irqaffinity=[\d-]+", isolation.mend)
    assert words
    assert isolation.mend.endswith("&& sudo reboot")
    command = isolation.mend.replace(f"/{file}", str(tmp_path / "root" / file)).replace(" && sudo reboot", "")
    shell = 'sudo() { "$@"; }; update-grub() { :; }; ' + command
    subprocess.run(["bash", "-c", shell], check=True)
    assert (tmp_path / "root" / file).read_text() == after.replace("WORDS", words[0])


def test_without_a_known_boot_loader_it_says_what_to_add(machine):
    isolation = of(machine(machines.laptop(), without="etc/default"), "isolation")
    assert isolation.mend.startswith("add to the kernel's command line")
    fedora = of(machine(machines.laptop(), without="usr/sbin"), "isolation")
    assert "grub2-mkconfig" in fedora.mend


def test_every_command_is_a_line_that_a_shell_can_read(machine, tries):
    tries.fifo_answer = tries.lock_answer = EPERM
    tries.limits_answer, tries.free = NO_RIGHTS, 0
    commands = [text for check in machine(machines.laptop()).checks for text in (check.mend, check.keep)]
    shell = [text.partition("   (")[0] for text in commands if text.startswith(("echo ", "sudo ", "printf "))]
    assert len(shell) >= 10
    for command in shell:
        subprocess.run(["bash", "-n", "-c", command.replace("; log out and in again", "")], check=True)


def test_reading_is_bounded_and_does_not_wait(tmp_path):
    tree = Tree(tmp_path)
    (tmp_path / "large").write_bytes(b"1" * (MAX_BYTES + 1))
    (tmp_path / "bytes").write_bytes(b"\xff")
    (tmp_path / "nul").write_bytes(b"a\0")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unread, match="/large: longer than 64 KiB"):
        tree.text("large")
    with pytest.raises(Unread, match="/bytes: not text"):
        tree.text("bytes")
    with pytest.raises(Unread, match="/gone: no such file"):
        tree.text("gone")
    assert tree.text("large", first=3) == "111"
    assert (tree.text("pipe"), tree.text("nul")) == ("", "a")
    assert not tree.has("x" * 5000)


def test_numbers_in_paths_are_sorted_as_numbers(tmp_path):
    plant(tmp_path, {f"cpu{n}": "" for n in (10, 9, 1)})
    assert Tree(tmp_path).matches("cpu[0-9]*") == ("cpu1", "cpu9", "cpu10")


@given(st.sets(st.integers(0, 300)))
def test_lists_of_cpus_read_back(cpus):
    ordered = tuple(sorted(cpus))
    assert parse_cpus(cpu_list(ordered), "x") == ordered


@pytest.mark.parametrize("text", ["a", "1-", "-1", "2-1", "0-99999", "9000", "1;2", "1,,2", "0x1"])
def test_what_is_no_list_of_cpus_is_refused(text):
    with pytest.raises(Unread, match="not a list of CPUs"):
        parse_cpus(text, "x")
