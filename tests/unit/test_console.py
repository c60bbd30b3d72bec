"""What reaches a terminal, a pipe that nobody reads any more, or a full disk."""

from __future__ import annotations

import errno
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgerl import console, presentation
from edgerl.runtime.core import ModeRow
from tests import simulated_run

EXAMPLE = Path(__file__).parents[2] / "examples" / "halfcheetah"
PROGRAM = Path(sys.executable).with_name("edgerl")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("abc\u202edef", "abc\\u202edef"),
        ("a\rb\tc", "a\\rb\\tc"),
        ("b\udcff", "b\\udcff"),
        ("two\nlines, 3 µs …", "two\nlines, 3 µs …"),
    ],
)
def test_what_would_steer_a_terminal_is_written_out(text, shown):
    assert console.visible(text) == shown


@pytest.mark.parametrize("show", [console.note, lambda text: console.show_table(text, ["a"], [[text]])])
def test_names_from_files_reach_the_terminal_harmless(capsys, show):
    show("\x1b[2Jgone")
    console.show_pairs([["\x1b[2J", "\x1b[2J"]])
    console.heading("\x1b[2J", "\x1b[2J")
    assert "\x1b" not in capsys.readouterr().err


def test_names_from_files_are_no_markup(capsys):
    for text in ("[red]name[/red]", "[/]"):
        console.show_pairs([[text, text]])
        console.show_table(text, ["a"], [[text]])
        console.note(text)
        console.heading(text, text)
        assert capsys.readouterr().err.count(text) == 7


def test_the_mode_table_has_every_event_in_the_line_of_its_consequence(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    rows = [
        ModeRow("safe", "nominal", "safe", "safe"),
        ModeRow("safe", "arm", "policy", "active"),
        ModeRow("safe", "reject", "safe", "safe"),
        ModeRow("active", "nominal", "policy", "active"),
        ModeRow("active", "estop", "lapse", "safe"),
        ModeRow("prepare", "nominal", "hold", "prepare"),
    ]
    presentation.show_modes(rows)
    lines = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert ["safe", "safe", "safe", "nominal,", "reject"] in lines
    assert ["policy", "active", "arm"] in lines
    assert ["active", "policy", "active", "nominal"] in lines
    assert ["No", "event", "leads", "to", "prepare"] in [line[:5] for line in lines]


def test_a_reader_who_goes_away_does_not_end_the_work(tmp_path):
    words = [PROGRAM, "export", EXAMPLE, "-o", tmp_path / "p.onnx", "--truth", EXAMPLE / "truth.npz"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.close()
        assert process.wait(timeout=60) == 0
    assert (tmp_path / "p.certificate.json").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_is_said_on_stderr():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [PROGRAM, "targets", "--json"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: stdout: could not be written (No space left on device)")
    assert "Traceback" not in done.stderr


def test_what_the_machine_refused_the_guardian_is_a_warning_with_its_cure(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    result = simulated_run.report().result
    presentation.show_run(result)
    assert "warning" not in capsys.readouterr().err
    refused = replace(result.scheduling, priority=0, priority_errno=errno.EPERM, lock_errno=errno.ENOMEM)
    presentation.show_run(replace(result, scheduling=refused))
    shown = capsys.readouterr().err
    assert "did not get real-time scheduling (Operation not permitted)" in shown
    assert "did not get a memory lock (Cannot allocate memory)" in shown
    assert shown.count("edgerl doctor") == 2
