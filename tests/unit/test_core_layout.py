"""Python's mirror of the C header is that header: every size, offset, limit and enum."""

from __future__ import annotations

import ctypes
import re
from enum import IntEnum, IntFlag

import pytest

from edgerl.runtime import core, enums, frame_structs, structs
from tests.core_build import SOURCES

HEADER = re.sub(r"/\*.*?\*/", "", "".join(path.read_text() for path in sorted(SOURCES.glob("edgerl_*.h"))), flags=re.S)
SHARED = [
    structs.StateChannel,
    structs.Element,
    structs.Term,
    structs.CommandChannel,
    structs.OperatorChannel,
    structs.Rung,
    structs.Ladder,
    structs.Config,
    structs.Operator,
    structs.Requests,
    structs.Status,
    structs.StatusBlock,
    structs.ObservationHeader,
    structs.ObservationMailbox,
    structs.Action,
    structs.ActionMailbox,
    frame_structs.Frame,
    frame_structs.FrameMailbox,
    frame_structs.FrameBuffer,
    frame_structs.FrameInput,
    structs.TickHeader,
    structs.Ring,
    structs.DatagramMailbox,
    structs.Transition,
]


def c_name(python_name: str) -> str:
    return "erl_" + re.sub(r"(?<!^)(?=[A-Z])", "_", python_name).lower()


@pytest.mark.parametrize("struct", SHARED, ids=lambda struct: struct.__name__)
def test_every_size_and_offset_is_the_librarys(struct):
    layout = core.library().erl_layout
    name = c_name(struct.__name__)
    assert layout(name.encode()) == ctypes.sizeof(struct)
    offsets = {field: layout(f"{name}.{field}".encode()) for field, _ in struct._fields_}
    assert offsets == {field: getattr(struct, field).offset for field, _ in struct._fields_}


@pytest.mark.parametrize("struct", SHARED, ids=lambda struct: struct.__name__)
def test_every_field_of_the_header_is_mirrored_in_order(struct):
    body = re.search(rf"typedef struct {c_name(struct.__name__)} \{{(.*?)\n\}}", HEADER, flags=re.S)
    assert body is not None
    members = [
        re.sub(r"\[.*", "", line.strip(), flags=re.S).split()[-1].lstrip("*")
        for line in body[1].split(";")
        if line.strip()
    ]
    if struct in (structs.Ring, frame_structs.FrameBuffer):
        members.remove("words")
    assert members == [field for field, _ in struct._fields_]


def test_an_unknown_field_has_no_offset():
    assert core.library().erl_layout(b"erl_config.nothing") == -1


@pytest.mark.parametrize(
    ("mirror", "prefix"),
    [
        (enums.Result, "ERL_"),
        (enums.Mode, "ERL_MODE_"),
        (enums.Source, "ERL_SOURCE_"),
        (enums.Event, "ERL_EVENT_"),
        (enums.Clock, "ERL_CLOCK_"),
        (enums.Phase, "ERL_PHASE_"),
        (enums.Request, "ERL_REQUEST_"),
        (enums.LadderClass, "ERL_LADDER_"),
        (enums.Role, "ERL_ROLE_"),
        (enums.InnerLaw, "ERL_INNER_"),
        (enums.Attitude, "ERL_ATTITUDE_"),
        (enums.ElementSource, "ERL_ELEMENT_"),
        (enums.Dtype, "ERL_"),
        (enums.PortKind, "ERL_PORT_"),
        (enums.OnViolation, "ERL_"),
        (enums.Drop, "ERL_DROP_"),
        (enums.StateFlag, "ERL_STATE_"),
        (enums.ArmBlocker, "ERL_ARM_"),
        (enums.FrameVerdict, "ERL_FRAME_"),
    ],
)
def test_every_enum_member_has_the_headers_number(mirror: type[IntEnum] | type[IntFlag], prefix: str):
    for member in mirror:
        found = re.search(rf"\b{prefix}{member.name}(?: = |\s+)(\w+?)u?\b", HEADER)
        assert found is not None, member
        assert int(found[1], 0) == member.value


def test_every_number_of_the_header_is_mirrored():
    defines = dict(re.findall(r"#define ERL_(\w+) (0x\w+|\d+)u", HEADER))
    flags = {f"CAUSE_{member.name}": member.value for member in enums.Verdict}
    flags |= {f"VERDICT_{member.name}": member.value for member in enums.Verdict}
    flags |= {f"STATE_{member.name}": member.value for member in enums.StateFlag}
    flags |= {f"ARM_{member.name}": member.value for member in enums.ArmBlocker}
    for name, text in defines.items():
        value = flags[name] if name in flags else getattr(enums, name)
        assert int(text, 0) == value, name


def test_the_counts_close_their_enums():
    for mirror, name in [
        (enums.Mode, "MODE"),
        (enums.Event, "EVENT"),
        (enums.Request, "REQUEST"),
        (enums.LadderClass, "LADDER"),
    ]:
        assert f"ERL_{name}_COUNT = {len(mirror)}" in HEADER
    assert f"ERL_DROP_CAUSES = {len(enums.Drop)}" in HEADER
    assert f"ERL_FRAME_VERDICTS = {len(enums.FrameVerdict)}" in HEADER
    assert f"ERL_SOURCE_NAMES = {len(enums.Source)}" in HEADER
