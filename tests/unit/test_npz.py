"""Arrays from anybody: plain numbers and text, within limits, never a pickle."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl.errors import CheckpointTooLarge, DamagedCheckpoint, EdgerlError
from edgerl.untrusted.limits import Limits
from edgerl.untrusted.npz import parse_npz


def packed(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_they_were(tmp_path, save):
    arrays = {
        "obs.image": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        "column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "empty": np.zeros((0, 3), np.float32),
        "one": np.float32(2.5),
        "text": np.array(["left", "right"]),
        "yes": np.array([True, False]),
    }
    save(tmp_path / "a.npz", **arrays)
    found = parse_npz((tmp_path / "a.npz").read_bytes(), "a.npz")
    assert list(found) == list(arrays)
    for name, array in found.items():
        assert np.array_equal(array, arrays[name]) and array.shape == arrays[name].shape
        assert array.flags.c_contiguous and array.dtype.isnative and not array.flags.writeable


def test_objects_are_refused_and_never_unpickled(tmp_path):
    marker = tmp_path / "executed"

    class Live:
        def __reduce__(self):
            return marker.touch, ()

    data = npy(np.array([Live()], object))
    with pytest.raises(DamagedCheckpoint, match="only numbers and text"):
        parse_npz(packed(a=data), "a.npz")
    assert not marker.exists()
    pickle.loads(data[data.index(b"\n") + 1 :])
    assert marker.exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy(np.zeros(3))[:-1], "need 24 bytes, not 23"),
        (npy(np.zeros(3)) + b"x", "need 24 bytes, not 25"),
        (npy(np.zeros(2, [("x", "f4")])), "only numbers and text"),
        (npy(np.zeros(2, "m8[s]")), "only numbers and text"),
        (npy(np.zeros(3)).replace(b"(3,)", b"(-3,)").replace(b"}  ", b"} "), "does not describe a plain array"),
        (b"\x93NUMPY\x03\x00" + npy(np.zeros(3))[8:], "version 1.0 or 2.0"),
        (b"nothing", "not a valid array"),
        (b"", "not a valid array"),
    ],
)
def test_what_is_no_plain_array_is_refused(data, message):
    with pytest.raises(DamagedCheckpoint, match=message):
        parse_npz(packed(a=data), "a.npz")


def test_more_elements_than_the_limit_are_refused():
    data = packed(a=npy(np.zeros(600, np.uint8)), b=npy(np.zeros(600, np.uint8)))
    with pytest.raises(CheckpointTooLarge, match="array elements"):
        parse_npz(data, "a.npz", Limits(array_elements=1000))


def test_what_is_no_zip_is_refused():
    with pytest.raises(DamagedCheckpoint, match="not a complete zip"):
        parse_npz(npy(np.zeros(3)), "a.npz")


HEADER = npy(np.arange(4.0))


@given(st.lists(st.tuples(st.integers(0, len(HEADER) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_mutated_arrays_raise_nothing_but_our_errors(changes):
    data = bytearray(HEADER)
    for at, value in changes:
        data[at] = value
    try:
        parse_npz(packed(a=bytes(data)), "mutated.npz")
    except EdgerlError as error:
        assert str(error).startswith("mutated.npz")
