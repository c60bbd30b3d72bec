"""The recording as others read it: by the official MCAP library and protobuf, which know nothing of edgerl."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.records import Message
from mcap.stream_reader import StreamReader

import edgerl
from edgerl.runtime.enums import Event, Mode
from edgerl.runtime.layout import Channel, Layout
from edgerl.runtime.recording import Header, arrays_of
from edgerl.runtime.recording.form import DERIVED, Form
from edgerl.runtime.recording.write import RecordingWriter
from edgerl.runtime.structs import TickHeader
from tests.recordings import HEADER, PERIOD_NS, any_ticks, header, ticks

ARRAYS = ("state", "action", "command", "shadow", "operator")


def write(path: Path, *batches, told: Header = HEADER) -> bytes:
    with RecordingWriter(path, told) as writer:
        for batch in batches:
            writer.append(batch)
    return path.read_bytes()


def decoder(schema):
    """Return what turns a message's bytes into an object, by nothing but the schema in the file."""
    assert schema.encoding == "protobuf"
    files = descriptor_pb2.FileDescriptorSet.FromString(schema.data)
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(schema.name)).FromString


def decoded(data: bytes) -> dict[str, list]:
    """Return the messages of each topic, read by the index, every checksum validated."""
    found: dict[str, list] = {}
    decoders: dict[int, object] = {}
    for schema, channel, message in make_reader(io.BytesIO(data), validate_crcs=True).iter_messages():
        decode = decoders.setdefault(schema.id, decoder(schema))
        found.setdefault(channel.topic, []).append((message, decode(message.data)))
    return found


def bits(value: float) -> bytes:
    return struct.pack("<f", value)


def test_every_number_of_every_tick_is_in_its_message(tmp_path: Path) -> None:
    rows = any_ticks(60)
    for name in ARRAYS:
        rows[name][np.isnan(rows[name])] = np.nan  # Python's floats do not keep the payload of a NaN
    topics = decoded(write(tmp_path / "run.mcap", rows[:50], rows[50:]))
    assert list(topics) == [f"/edgerl/{name}" for name in ("tick", *ARRAYS)]
    for index, (_, told) in enumerate(topics["/edgerl/tick"]):
        for name, _ in TickHeader._fields_:
            if name != "reserved":
                value = getattr(told, name)
                assert (value if isinstance(value, int) else list(value)) == rows[name][index].tolist(), name
    for name in ARRAYS:
        for index, (_, told) in enumerate(topics[f"/edgerl/{name}"]):
            values = [getattr(told, field.name) for field in told.DESCRIPTOR.fields]
            assert b"".join(map(bits, values)) == np.ascontiguousarray(rows[name][index]).tobytes()


def test_modes_sources_and_events_have_their_names(tmp_path: Path) -> None:
    rows = ticks(2)
    rows["mode"][1], rows["event"][1] = Mode.FALLBACK, Event.POLICY_FAULT
    (_, first), (_, second) = decoded(write(tmp_path / "run", rows))["/edgerl/tick"]
    enums = {field.name: field.enum_type for field in first.DESCRIPTOR.fields if field.enum_type}
    assert sorted(enums) == ["clock", "event", "from_mode", "mode", "source"]
    assert enums["mode"].values_by_number[first.mode].name == "MODE_ACTIVE"
    assert enums["mode"].values_by_number[second.mode].name == "MODE_FALLBACK"
    assert enums["event"].values_by_number[second.event].name == "EVENT_POLICY_FAULT"


def test_log_time_is_the_date_of_the_tick_and_sequence_is_its_number(tmp_path: Path) -> None:
    messages = [message for message, _ in decoded(write(tmp_path / "run", ticks(3, first=2**32 - 1)))["/edgerl/state"]]
    expected = [HEADER.started_unix_ns + PERIOD_NS * (2**32 - 1 + index) for index in range(3)]
    assert [message.log_time for message in messages] == [message.publish_time for message in messages] == expected
    assert [message.sequence for message in messages] == [2**32 - 1, 0, 1]


def test_differences_of_times_are_there_to_be_plotted(tmp_path: Path) -> None:
    rows = ticks(2)
    rows["post_ns"], rows["stamp_ns"], rows["observed"] = rows["start_ns"] + 5, rows["start_ns"] - 3, 1
    rows["action_ns"][0], rows["write_ns"][0] = rows["start_ns"][0] + 25, rows["start_ns"][0] + 40
    (_, with_action), (_, without) = decoded(write(tmp_path / "run", rows))["/edgerl/tick"]
    assert (with_action.lateness_ns, with_action.answer_ns, with_action.latency_ns) == (7, 20, 43)
    assert np.isnan([without.answer_ns, without.latency_ns]).all()
    (_, other), _ = decoded(write(tmp_path / "other", rows, told=header(same_clock=False)))["/edgerl/tick"]
    assert np.isnan(other.latency_ns)


def test_fields_are_named_like_channels_and_units_stand_with_the_channel(tmp_path: Path) -> None:
    reader = make_reader(io.BytesIO(write(tmp_path / "run", ticks(1))))
    summary = reader.get_summary()
    assert summary is not None
    notes = {channel.topic: channel.metadata for channel in summary.channels.values()}
    assert notes["/edgerl/state"]["q_hip"] == "q[hip] [rad]"
    assert notes["/edgerl/command"] == {"tau_hip": "tau[hip] [N m]"}
    assert notes["/edgerl/operator"] == {"velocity": "velocity [m/s]"}
    (metadata,) = reader.iter_metadata()
    assert metadata.name == "edgerl.recording"
    assert metadata.metadata["robot"] == '"gym:CartPole-v1"'
    assert metadata.metadata["bundle"] == f'"{HEADER.bundle}"'


def test_the_index_says_how_much_there_is_and_where(tmp_path: Path) -> None:
    rows = ticks(250)
    data = write(tmp_path / "run", rows[:100], rows[100:200], rows[200:])
    summary = make_reader(io.BytesIO(data)).get_summary()
    assert summary is not None
    assert summary.statistics is not None
    topics = len(Form.of(HEADER).topics)
    assert (summary.statistics.message_count, summary.statistics.chunk_count) == (250 * topics, 3)
    assert summary.statistics.channel_message_counts == dict.fromkeys(range(1, topics + 1), 250)
    begin = HEADER.started_unix_ns
    assert summary.statistics.message_start_time == begin
    assert summary.statistics.message_end_time == begin + 249 * PERIOD_NS
    # Seeking by the index reaches exactly the messages of its time.
    window = {
        "starting_at": begin + 120 * PERIOD_NS,
        "ending_before": begin + 130 * PERIOD_NS,
        "topics": ["/edgerl/tick"],
    }
    messages = list(make_reader(io.BytesIO(data)).iter_messages(**window))
    assert [message.sequence for _, _, message in messages] == list(range(120, 130))


@pytest.mark.parametrize("channels", [1, 357])
def test_channels_of_any_number_are_decoded(tmp_path: Path, channels: int) -> None:
    names = tuple(Channel(f"observation.joints[{index}]", "1") for index in range(channels))
    told = header(arrays=arrays_of(Layout(names, (Channel("torque", "N m"),))))
    rows = any_ticks(3, told=told)
    rows["state"] = np.arange(3 * channels, dtype=np.float32).reshape(3, channels)
    for index, (_, state) in enumerate(decoded(write(tmp_path / "run", rows, told=told))["/edgerl/state"]):
        assert [getattr(state, f"observation_joints_{place}") for place in range(channels)] == rows["state"][
            index
        ].tolist()


def test_a_file_cut_at_any_byte_is_read_by_others_up_to_its_last_whole_chunk(tmp_path: Path) -> None:
    data = write(tmp_path / "run", ticks(3), ticks(3, first=3))
    topics = len(Form.of(HEADER).topics)
    summary = make_reader(io.BytesIO(data)).get_summary()
    assert summary is not None
    ends = [index.chunk_start_offset + index.chunk_length for index in summary.chunk_indexes]
    for size in range(len(data)):
        count = 0
        with contextlib.suppress(McapError, EOFError, struct.error):  # that it ends early, after everything before it
            for record in StreamReader(io.BytesIO(data[:size]), validate_crcs=True).records:
                count += isinstance(record, Message)
        assert count == 3 * topics * sum(end <= size for end in ends), size


def test_the_page_about_recordings_names_every_topic_and_what_is_derived() -> None:
    page = (Path(edgerl.__file__).parent.parent / "docs" / "recording.md").read_text()
    for topic in Form.of(HEADER).topics:
        assert f"| `{topic.name}` | `{topic.message}` |" in page
    assert all(f"`{name}`" in page for name in DERIVED)


def test_a_recording_without_ticks_is_a_valid_file(tmp_path: Path) -> None:
    reader = make_reader(io.BytesIO(write(tmp_path / "run")), validate_crcs=True)
    assert list(reader.iter_messages()) == []
