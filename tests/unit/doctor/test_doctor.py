"""What the doctor says of whole machines, and the rule by which a delay becomes pass, warn or fail."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgerl import canonical
from edgerl.bundle.load import Bundle, save_bundle
from edgerl.deploy.doctor import Examination, check_names, examine
from edgerl.deploy.doctor.check import duration, judge
from edgerl.deploy.doctor.tries import Limits, RealTries
from edgerl.errors import TargetError
from edgerl.target import load_target
from tests import machines
from tests.machines import EPERM, MS, NO_RIGHTS, FakeTries, core_folder, of, plant
from tests.unit.test_bundle import small_bundle

DOC = Path(__file__).parents[3] / "docs" / "doctor.md"


def statuses(examination: Examination) -> dict[str, str]:
    return {check.name: check.status for check in examination.checks}


def bundle_for(arch: str = "aarch64", **changes: Any) -> Bundle:
    return small_bundle(target=load_target(f"linux-{arch}"), **changes)


def test_a_board_that_was_set_up_is_fit_for_1_khz(machine):
    found = machine(machines.jetson(), bundle=bundle_for())
    assert statuses(found) == dict.fromkeys(check_names(), "pass")
    assert (found.fit, found.unfit_for, found.period_ns, found.rate_from) == (True, (), MS, "caller")
    assert {(check.mend, check.keep) for check in found.checks} == {("", "")}
    facts = found.machine
    assert facts.board == "NVIDIA Jetson AGX Orin Developer Kit"
    assert facts.system == "Ubuntu 22.04.5 LTS, L4T 36.4.0"
    assert (facts.kernel, facts.preemption, facts.cpus) == ("5.15.148-rt-tegra", "rt", 8)
    assert (facts.container, facts.hypervisor, facts.architecture) == ("", "", "aarch64")


def test_an_ordinary_laptop_is_not_fit_for_1_khz(machine, tries):
    tries.fifo_answer = tries.lock_answer = EPERM
    tries.limits_answer = NO_RIGHTS
    tries.free = 0
    found = machine(machines.laptop())
    failing = ("kernel", "scheduler", "memory lock", "idle states", "storage")
    warning = ("throttling", "swap", "governor", "isolation", "interrupts", "clock", "timers", "heat")
    assert {check.name for check in found.checks if check.status == "fail"} == set(failing)
    assert {check.name for check in found.checks if check.status == "warn"} == set(warning)
    assert statuses(found)["backends"] == statuses(found)["target"] == "not_run"
    assert (found.fit, found.unfit_for) == (False, failing)
    for check in found.checks:
        assert bool(check.mend) == (check.status in {"warn", "fail"}), check
        assert check.found
        assert check.why.endswith(".")


def test_the_same_laptop_is_fit_for_10_hz_with_warnings(machine, tries):
    tries.fifo_answer = tries.lock_answer = EPERM
    tries.limits_answer = NO_RIGHTS
    found = machine(machines.laptop(), period_ns=100 * MS)
    assert found.fit
    assert statuses(found)["scheduler"] == statuses(found)["memory lock"] == "warn"
    assert statuses(found)["kernel"] == statuses(found)["isolation"] == statuses(found)["idle states"] == "pass"


def test_a_container_with_a_quota_is_told_what_it_cannot_see_and_what_its_host_must_do(machine, tries):
    tries.fifo_answer = tries.lock_answer = EPERM
    tries.limits_answer = Limits(0, 8 * 1024 * 1024, root=True)
    found = machine(machines.container())
    assert found.machine.container == "docker"
    assert of(found, "cpu quota").status == "fail"
    assert "50000 of every 100000 µs, on 4 CPUs: up to 87.5 ms" in of(found, "cpu quota").found
    assert "--cap-add=SYS_NICE" in of(found, "scheduler").mend
    assert "--ulimit memlock" in of(found, "memory lock").mend
    assert "--cpus" in of(found, "cpu quota").mend
    assert of(found, "throttling").mend.startswith("on the container's host: sudo sysctl")
    assert of(found, "throttling").keep.startswith("on the container's host: echo")
    assert of(found, "virtualization").status == "fail"  # a tenth of the time was stolen
    assert of(found, "processors").status == "warn"
    unknown = {check.name for check in found.checks if check.status == "not_run"}
    assert unknown == {"governor", "idle states", "interrupts", "heat", "loopback", "backends", "target"}


def test_a_broken_tree_passes_nothing_that_was_read_from_it_and_names_the_files(machine):
    found = machine(machines.broken())
    asked = {"scheduler", "memory lock", "storage", "core"}  # no file is read for these
    read = [check for check in found.checks if check.name not in asked | {"backends", "target"}]
    assert {check.status for check in read} == {"not_run"}
    for check in read:
        assert re.match(r"/(proc|sys)/\S+: ", check.found), check
        assert "\x1b" not in check.found
    assert not found.fit
    assert found.unfit_for == ("kernel",)
    assert found.machine.preemption == ""


def test_an_empty_machine_passes_nothing_that_was_read_from_it(machine, tries):
    tries.fifo_answer = tries.lock_answer = tries.free = None
    tries.machine = ""
    found = machine({})
    assert set(statuses(found).values()) == {"not_run"}
    assert found.unfit_for == ("kernel", "scheduler", "memory lock", "core")
    assert all(check.found for check in found.checks)
    assert (found.machine.cpus, found.machine.kernel) == (0, "")


ANY_FILES = {**machines.laptop(), **machines.jetson(), **machines.container()}
CONTENT = st.binary(max_size=64) | st.from_regex(rb"[0-9 ,:/.\-a-z()]{0,40}", fullmatch=True)
SPOILED = st.dictionaries(st.sampled_from([path for path, text in ANY_FILES.items() if text is not None]), CONTENT)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SPOILED)
def test_no_content_of_any_file_makes_it_raise(tmp_path_factory, spoiled):
    root = tmp_path_factory.getbasetemp() / "spoiled"
    if not root.exists():
        plant(root, ANY_FILES)
    for path, content in spoiled.items():
        (root / path).write_bytes(content)
    found = examine(root=root, tries=FakeTries(core_folder(root / "core")), period_ns=MS)
    plant(root, {path: ANY_FILES[path] for path in spoiled})
    assert [check.name for check in found.checks] == list(check_names())
    assert all(check.found.isprintable() for check in found.checks)
    assert canonical.loads(Examination, canonical.dumps(found), "examination") == found


def test_an_examination_reads_back_from_its_json(machine):
    found = machine(machines.laptop())
    assert canonical.loads(Examination, canonical.dumps(found), "examination") == found


def test_nothing_on_the_machine_is_changed(machine, tmp_path):
    machine(machines.laptop())
    before = {path: path.read_bytes() for path in sorted((tmp_path / "root").rglob("*")) if path.is_file()}
    examine(root=tmp_path / "root", tries=RealTries())
    assert before == {path: path.read_bytes() for path in sorted((tmp_path / "root").rglob("*")) if path.is_file()}


def test_the_page_lists_every_check_in_order():
    rows = re.findall(r"^\| ([a-z ]+?) \|", DOC.read_text().partition("## The checks")[2].partition("##")[0], re.M)
    assert rows[1:] == list(check_names())


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    save_bundle(small_bundle(), tmp_path / "walker.edgerl")
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert code
    exec(compile(code[1], str(DOC), "exec"), {})
    assert re.search(r"^(pass|warn|fail) target ", capsys.readouterr().out, re.M)


@pytest.mark.parametrize(
    ("delay_ns", "period_ns", "status"),
    [
        (500_000, MS, "fail"),
        (499_999, MS, "warn"),
        (50_000, MS, "warn"),
        (49_999, MS, "pass"),
        (0, MS, "pass"),
        (5 * MS, MS, "fail"),
        (5 * MS, 100 * MS, "warn"),
    ],
)
def test_half_a_period_fails_and_a_twentieth_warns(delay_ns, period_ns, status):
    assert judge(delay_ns, period_ns) == status


def test_an_answer_can_be_bound_at_both_ends():
    assert judge(0, MS, at_least="warn") == "warn"
    assert judge(MS, MS, at_most="warn") == "warn"
    assert judge(MS, MS, at_least="warn") == "fail"


@given(st.integers(0, 10**10), st.integers(1, 10**10), st.integers(1, 10**10))
def test_a_longer_period_is_never_judged_harder(delay_ns, period_ns, longer_by):
    order = ["pass", "warn", "fail"]
    assert order.index(judge(delay_ns, period_ns + longer_by)) <= order.index(judge(delay_ns, period_ns))


@pytest.mark.parametrize(("ns", "text"), [(5 * MS, "5 ms"), (1, "1 ns"), (100_000, "100 µs"), (2 * 10**9, "2 s")])
def test_times_are_told_in_their_unit(ns, text):
    assert duration(ns) == text


def test_the_rate_is_the_callers_else_the_bundles_else_1_khz(machine):
    bundle = bundle_for()
    assert machine(machines.jetson(), bundle=bundle, period_ns=None).rate_from == "bundle"
    assert machine(machines.jetson(), bundle=bundle, period_ns=None).period_ns == 20 * MS
    assert machine(machines.jetson(), bundle=bundle, period_ns=4 * MS).period_ns == 4 * MS
    default = machine(machines.jetson(), period_ns=None)
    assert (default.period_ns, default.rate_from) == (MS, "default")


@pytest.mark.parametrize("period_ns", [0, -1])
def test_a_period_that_is_none_is_refused(period_ns):
    with pytest.raises(TargetError, match=f"period is {period_ns} ns. Expected more than 0"):
        examine(period_ns=period_ns)
