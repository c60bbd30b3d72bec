"""Files of torch.save, read with numpy only. The files are real; hostile ones are real ones with another pickle."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl.errors import CheckpointTooLarge, DamagedCheckpoint, EdgerlError, UnsafeCheckpoint
from edgerl.untrusted.foreign import Foreign
from edgerl.untrusted.limits import Limits
from edgerl.untrusted.npz import parse_npz
from edgerl.untrusted.torch_zip import read_torch

FILES = Path(__file__).parents[1] / "zoo" / "torch"
TENSORS = (FILES / "tensors.pt").read_bytes()
MODULE = (FILES / "module.pt").read_bytes()
TRUTH = parse_npz((FILES / "tensors.npz").read_bytes(), "tensors.npz")


def torch_file(pickle: bytes, storages: dict[str, bytes], **members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02" + pickle + b".")
        for name, data in {**{f"data/{key}": value for key, value in storages.items()}, **members}.items():
            file.writestr(f"archive/{name}", data)
    return stream.getvalue()


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def numbers(values) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(kind: str, key: str, count: int) -> bytes:
    return b"(" + text("storage") + f"c{kind}\n".encode() + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(kind: str, key: str, count: int, offset: int, shape, strides) -> bytes:
    call = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return call + storage(kind, key, count) + number(offset) + numbers(shape) + numbers(strides) + b"\x89NtR"


FOUR = {"0": np.arange(4, dtype="<f4").tobytes()}


def one(offset=0, shape=(4,), strides=(1,), count=4, kind="torch\nFloatStorage", key="0", storages=FOUR, **members):
    return read_torch(torch_file(tensor(kind, key, count, offset, shape, strides), storages, **members), "a.pt").value


def test_a_written_tensor_is_read():
    assert np.array_equal(one(), [0, 1, 2, 3])
    assert np.array_equal(one(1, (2, 2), (1, 1)), [[1, 2], [2, 3]])
    assert np.array_equal(one(0, (2, 2), (1, 2)), [[0, 2], [1, 3]])
    assert one(4, (0, 5), (1, 1)).shape == (0, 5)


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_every_type_and_view_is_read_as_torch_reads_it(name):
    found = read_torch(TENSORS, "a.pt").value[name]
    assert found.dtype == TRUTH[name].dtype
    assert found.shape == TRUTH[name].shape
    assert np.array_equal(found, TRUTH[name])
    assert found.flags.c_contiguous and not found.flags.writeable


def test_a_whole_module_is_an_inert_record_with_its_parameters():
    pickled = read_torch(MODULE, "a.pt")
    assert isinstance(pickled.value, Foreign) and pickled.value.name == "Sequential"
    linear = pickled.value.attributes["_modules"]["0"]
    assert linear.attributes["_parameters"]["weight"].shape == (3, 2)
    assert pickled.foreign_globals == (
        "torch.nn.modules.activation.ReLU",
        "torch.nn.modules.container.Sequential",
        "torch.nn.modules.linear.Linear",
    )


def test_big_endian_storages_are_read():
    storages = {"0": np.arange(4, dtype=">f4").tobytes()}
    assert np.array_equal(one(storages=storages, byteorder=b"big"), [0, 1, 2, 3])


def test_the_format_before_torch_1_6_is_refused_and_says_what_to_do():
    with pytest.raises(UnsafeCheckpoint, match=r"before version 1\.6.*torch\.save it again"):
        read_torch((FILES / "legacy.pt").read_bytes(), "a.pt")


def test_a_torchscript_archive_is_refused_and_says_what_to_do():
    with pytest.raises(UnsafeCheckpoint, match=r"TorchScript.*state_dict"):
        read_torch((FILES / "script.pt").read_bytes(), "a.pt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"offset": 1}, r"reaches value 4 of a storage of 4"),
        ({"offset": -1}, "not made of storage"),
        ({"shape": (5,)}, "reaches value 4"),
        ({"strides": (2,)}, "reaches value 6"),
        ({"strides": (-1,)}, "not negative"),
        ({"shape": (2, 2)}, "not made of storage"),
        ({"shape": (-4,)}, "not negative"),
        ({"shape": (2,) * 40, "strides": (0,) * 40}, "at most 32 axes"),
        ({"count": 5}, "4 values, not 5"),
        ({"kind": "torch\nDoubleStorage"}, "2 values, not 4"),
        ({"kind": "torch\nQUInt8Storage"}, "a storage of type QUInt8Storage"),
        ({"kind": "os\nsystem"}, "a storage of type system"),
        ({"key": "7"}, "'7' is not in the archive"),
        ({"key": "../data.pkl"}, "is not in the archive"),
        ({"storages": {"0": bytes(15)}}, "does not hold whole values"),
        ({"byteorder": b"middle"}, "neither little nor big"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(arguments, message):
    with pytest.raises(DamagedCheckpoint, match=message):
        one(**arguments)


def test_a_tensor_that_expands_one_value_to_the_memory_is_refused():
    with pytest.raises(CheckpointTooLarge, match="array elements"):
        one(shape=(100_000, 100_000), strides=(0, 0))


def test_tensors_that_share_a_storage_are_counted_each_time():
    data = torch_file(b"(" + tensor("torch\nFloatStorage", "0", 4, 0, (4,), (1,)) * 100 + b"t", FOUR)
    with pytest.raises(CheckpointTooLarge, match="array elements"):
        read_torch(data, "a.pt", Limits(array_elements=300))


def test_views_of_one_storage_cannot_fill_the_memory_at_the_default_limits():
    view = tensor("torch\nDoubleStorage", "0", 125_000, 0, (125_000,), (1,))
    data = torch_file(b"(" + view * 60 + b"t", {"0": bytes(1_000_000)})
    with pytest.raises(CheckpointTooLarge, match="array elements"):
        read_torch(data, "a.pt")


def test_an_archive_without_one_pickle_is_refused():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("archive/data/0", b"")
    with pytest.raises(DamagedCheckpoint, match=r"exactly one data\.pkl"):
        read_torch(stream.getvalue(), "a.pt")


@pytest.mark.parametrize("data", [b"", b"text", b"\x80\x02}."])
def test_what_torch_did_not_save_is_refused(data):
    with pytest.raises(DamagedCheckpoint, match=r"not a file of torch\.save"):
        read_torch(data, "a.pt")


def test_every_truncation_is_refused_with_one_message():
    for length in range(0, len(TENSORS), 13):
        with pytest.raises(DamagedCheckpoint):
            read_torch(TENSORS[:length], "a.pt")


PICKLE = zipfile.ZipFile(io.BytesIO(TENSORS)).read("tensors/data.pkl")
STORAGES = {
    name.partition("/data/")[2]: zipfile.ZipFile(io.BytesIO(TENSORS)).read(name)
    for name in zipfile.ZipFile(io.BytesIO(TENSORS)).namelist()
    if "/data/" in name
}


@given(st.lists(st.tuples(st.integers(0, len(PICKLE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_mutated_files_raise_nothing_but_our_errors(changes):
    data = bytearray(PICKLE)
    for at, value in changes:
        data[at] = value
    try:
        read_torch(torch_file(bytes(data[2:]), STORAGES), "a.pt", Limits(array_elements=100_000))
    except EdgerlError as error:
        assert str(error).startswith("a.pt")
