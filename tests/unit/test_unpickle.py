"""The restricted unpickler: what it rebuilds, what stays inert, and that nothing a file says is ever done."""

from __future__ import annotations

import collections
import contextlib
import copyreg
import datetime
import enum
import functools
import os
import pickle
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from edgerl.errors import CheckpointTooLarge, DamagedCheckpoint, EdgerlError, UnsafeCheckpoint
from edgerl.untrusted.foreign import Foreign
from edgerl.untrusted.limits import Limits
from edgerl.untrusted.unpickle import read_pickle

PROTOCOLS = range(6)
SMALL = Limits(pickle_operations=20_000, array_elements=10_000, depth=50)


def read(data: bytes, limits: Limits | None = None) -> object:
    return read_pickle(data, "a.pkl", limits).value


class Colour(enum.Enum):
    RED = 1

    def __reduce_ex__(self, _protocol):  # as most versions of Python do by themselves; 3.11.2 names Colour.RED instead
        return type(self), (self.value,)


class Plain:
    def __init__(self):
        self.speed = 3.0


class Slotted:
    __slots__ = ("speed",)


class Outer:
    class Inner:
        pass


class Calls:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


# -- plain values


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers_and_numbers_come_back_as_they_were(protocol):
    shared = [1, 2]
    value = {
        "numbers": [0, -1, 255, 65536, 2**40, -(2**100), 1.5, float("inf"), 1 + 2j, True, None],
        "text": ["", "é\n\\", "x" * 300],
        "bytes": [b"", b"\x00\xff", b"y" * 300],
        "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "sets": [set(), {1, 2}, frozenset({"a"})],
        3: shared,
        (1, "a"): shared,
    }
    found = read(pickle.dumps(value, protocol))
    assert found == value
    assert found[3] is found[1, "a"]


def test_a_list_may_hold_itself():
    endless: list[object] = []
    endless.append(endless)
    found = read(pickle.dumps(endless))
    assert found[0] is found


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_ordered_dictionary_becomes_a_dictionary_in_its_order(protocol):
    ordered = collections.OrderedDict([("b", 1), ("a", 2)])
    ordered.extra = "attribute"
    found = read(pickle.dumps(ordered, protocol))
    assert list(found.items()) == [("b", 1), ("a", 2)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("code", ["?", "i1", "u2", "<i4", ">i8", "<f2", "<f4", ">f8", "c8", "c16"])
def test_arrays_come_back_bit_for_bit_in_native_order(protocol, code):
    array = np.arange(24).reshape(2, 3, 4).astype(code)
    variants = [
        array,
        np.asfortranarray(array),
        array.transpose(1, 2, 0),
        array[0, 0, :0],
        array[1, 2, 3:4].reshape(()),
    ]
    for variant, found in zip(variants, read(pickle.dumps(variants, protocol)), strict=True):
        assert isinstance(found, np.ndarray) and found.dtype.isnative and not found.flags.writeable
        assert found.shape == variant.shape and np.array_equal(found, variant)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_array_used_twice_is_one_array(protocol):
    array = np.arange(3.0)
    found = read(pickle.dumps({"a": array, "b": [array]}, protocol))
    assert found["a"] is found["b"][0]
    assert isinstance(found["a"], np.ndarray)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_scalars_and_dtypes_come_back(protocol):
    found = read(pickle.dumps([np.float32(0.1), np.int64(-5), np.bool_(1), np.dtype(">f4"), np.dtype("u1")], protocol))
    assert found == [np.float32(0.1), -5, True, np.dtype(">f4"), np.dtype("u1")]


def test_the_module_names_of_numpy_before_version_2_are_known():
    data = pickle.dumps(np.arange(3.0), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in data
    assert np.array_equal(read(data), np.arange(3.0))


# -- inert records


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        np.array([1, "a", None], object),
        np.zeros(2, [("x", "f4"), ("y", "i2")]),
        np.array(["2020-01-01"], "datetime64[D]"),
        np.array(["text"]),
        np.random.default_rng(0),
        np.random.RandomState(0),
        datetime.datetime(2020, 1, 1),
        Colour.RED,
        Plain(),
        functools.partial(print, 1, sep=""),
        collections.deque([1, 2], 5),
        collections.defaultdict(list, {"a": [1]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_becomes_an_inert_record(value, protocol):
    found = read(pickle.dumps(value, protocol))
    assert isinstance(found, Foreign)
    assert repr(found).startswith("<foreign")


def test_a_record_keeps_arguments_state_items_and_entries():
    values = [Plain(), collections.deque([1, 2], 5), collections.defaultdict(list, {"a": [1]}), Colour.RED]
    plain, queue, table, red = read(pickle.dumps(values, 4))
    assert plain.qualified.endswith(".Plain") and plain.attributes == {"speed": 3.0}
    assert queue.args == ((), 5) and queue.items == [1, 2]
    assert table.entries == [("a", [1])] and table.args[0].qualified == "builtins.list"
    assert red.args == (1,) and red.name == "Colour"


def test_attributes_of_slots_are_found():
    slotted = Slotted()
    slotted.speed = 2
    assert read(pickle.dumps(slotted, 4)).attributes == {"speed": 2}


def test_keyword_arguments_of_a_new_object_are_kept():
    data = b"\x80\x04cm\nC\n)}\x8c\x01kK\x05s\x92."
    found = read(data)
    assert found.kwargs == {"k": 5} and found.args == ()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_nested_class_has_its_dotted_name_in_every_protocol(protocol):
    found = read_pickle(pickle.dumps(Outer.Inner, protocol), "a.pkl")
    assert found.value.name == "Outer.Inner" and found.value.args is None


def test_records_are_keys_by_identity():
    one, two = Plain(), Plain()
    found = read(pickle.dumps({one: 1, two: 2}))
    assert sorted(found.values()) == [1, 2]
    assert all(isinstance(key, Foreign) for key in found)


def test_foreign_names_are_reported_sorted_and_once():
    data = pickle.dumps([Plain(), Plain(), Colour.RED, np.zeros(3), collections.OrderedDict()], 4)
    module = Plain.__module__
    assert read_pickle(data, "a.pkl").foreign_globals == (f"{module}.Colour", f"{module}.Plain")


def test_an_attribute_of_a_global_is_reported_by_its_dotted_name():
    data = pickle.dumps(os.path.join, 2).replace(
        b"cposixpath\njoin\n", b"c__builtin__\ngetattr\ncos\npath\nU\x04join\x86R"
    )
    pickled = read_pickle(data, "a.pkl")
    assert pickled.value.qualified == "os.path.join"
    assert pickled.foreign_globals == ("os.path", "os.path.join")


def test_the_result_of_a_call_can_be_called_and_stays_inert():
    inner = Calls(functools.partial, Calls(functools.partial, print))
    assert isinstance(read(pickle.dumps(inner)), Foreign)


# -- hostile files


class SetsState:
    def __init__(self, command):
        self.command = command

    def __setstate__(self, state):
        os.system(state["command"])


def _live_payloads(marker: Path) -> dict[str, bytes]:
    """Pickles that make ``marker`` when Python itself loads them."""
    command = f"touch {marker}"
    text = command.encode()
    call = b"cposix\nsystem\n"
    line = repr(command).encode() + b"\n"
    return {
        "reduce": pickle.dumps(Calls(os.system, command)),
        "eval": pickle.dumps(Calls(eval, f"__import__('os').system({command!r})")),
        "exec": pickle.dumps(Calls(exec, f"import os; os.system({command!r})")),
        "build": pickle.dumps(SetsState(command)),
        "inst": b"(S" + line + b"iposix\nsystem\n.",
        "obj": b"(" + call + b"S" + line + b"o.",
        "protocol 0": call + b"(S" + line + b"tR.",
        "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c" + bytes([len(text)]) + text + b"\x85R.",
        "getattr": b"\x80\x02c__builtin__\ngetattr\nc__builtin__\n__import__\nU\x02os\x85RU\x06system\x86RU"
        + bytes([len(text)]) + text + b"\x85R.",
        "map": pickle.dumps([Calls(list, Calls(map, os.system, [command]))]),
        "inside an array": pickle.dumps(np.array([Calls(os.system, command)], object)),
        "inside a dtype": pickle.dumps(Calls(np.dtype, Calls(os.system, command))),
        "memoized then thrown away": b"\x80\x04" + call + b"\x8c" + bytes([len(text)]) + text + b"\x85R\x940N.",
    }  # fmt: skip


PAYLOADS = sorted(_live_payloads(Path("x")))


@pytest.mark.parametrize("name", PAYLOADS)
def test_nothing_in_a_hostile_pickle_is_executed(name, tmp_path):
    marker = tmp_path / "executed"
    payload = _live_payloads(marker)[name]
    try:
        found = read_pickle(payload, "a.pkl").foreign_globals
    except EdgerlError:
        found = ("refused",)
    assert not marker.exists()
    assert found
    with contextlib.suppress(TypeError, ValueError, AttributeError):
        pickle.loads(payload)  # the payload is alive: Python's own unpickler runs it
    assert marker.exists()


def test_an_extension_code_is_refused_even_if_this_process_registered_it(tmp_path):
    copyreg.add_extension("posix", "system", 240)
    try:
        marker = tmp_path / "executed"
        payload = b"\x80\x02\x82\xf0U" + bytes([len(f"touch {marker}")]) + f"touch {marker}".encode() + b"\x85R."
        with pytest.raises(UnsafeCheckpoint, match="extension code"):
            read(payload)
        assert not marker.exists()
        pickle.loads(payload)
        assert marker.exists()
    finally:
        copyreg.remove_extension("posix", "system", 240)


@pytest.mark.parametrize(
    "data",
    [b"\x80\x04Pname\n.", b"\x80\x04K\x01Q.", b"\x80\x05\x97.", b"\x80\x05\x97\x98."],
    ids=["persistent id", "binary persistent id", "buffer outside", "read-only buffer outside"],
)
def test_references_to_something_outside_are_refused(data):
    with pytest.raises(UnsafeCheckpoint, match=r"Nothing from a checkpoint is ever executed"):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"N",
        b"\x80\x04",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x8b\xff\xff\xff\x7f.",
        b"\x96\xff\xff\xff\xff\xff\xff\xff\xffx.",
        b"(.",
        b"a.",
        b"t.",
        b"K\x01K\x02a.",
        b"K\x01K\x02R.",
        b"K\x01K\x02b.",
        b"K\x01)\x81.",
        b"(K\x01u.",
        b"}(K\x01u.",
        b"h\x05.",
        b"}]K\x01s.",
        b"\x8f(]\x90.",
        b"(]\x91.",
        b"}\x8a\x0b" + b"\x01" * 11 + b"K\x01s.",
        b"cnumpy\ndtype\n(S'zz'\ntR(K\x03S'<'\ntb.",
        b"\xffgarbage",
        b"I1x\n.",
        b"S'\\xzz'\n.",
        b"S'\\q'\n.",
    ],
)
def test_what_is_no_pickle_gets_one_message(data):
    with pytest.raises(DamagedCheckpoint, match=r"^a\.pkl: not a valid pickle"):
        read(data)


def test_every_truncation_of_a_pickle_is_refused():
    data = pickle.dumps({"a": np.arange(5.0), "b": [Plain(), (1, 2)], "c": "text"}, 4)
    for length in range(len(data)):
        with pytest.raises(DamagedCheckpoint):
            read(data[:length])


def test_an_array_that_claims_more_than_it_has_is_refused():
    data = pickle.dumps(np.zeros(3), 2).replace(b"K\x03\x85", b"K\x04\x85")
    with pytest.raises(DamagedCheckpoint, match="needs 32 bytes, not 24"):
        read(data)


# -- limits


def test_too_many_operations_are_refused():
    with pytest.raises(CheckpointTooLarge, match="pickle operations"):
        read(pickle.dumps(list(range(30_000))), SMALL)


def test_too_many_elements_are_refused():
    with pytest.raises(CheckpointTooLarge, match="array elements"):
        read(pickle.dumps([np.zeros(6_000), np.zeros(6_000, "u1")]), SMALL)


@pytest.mark.parametrize("data", [b"(" * 60 + b".", b"]" * 60 + b"a" * 59 + b".", b")" + b"\x85" * 60 + b"."])
def test_too_deep_nesting_is_refused(data):
    with pytest.raises(CheckpointTooLarge, match="depth"):
        read(data, SMALL)


def test_deep_nesting_within_the_limit_is_read():
    assert read(b"]" * 40 + b"a" * 39 + b".", SMALL)


def test_a_huge_integer_is_refused():
    with pytest.raises(DamagedCheckpoint, match="bits"):
        read(pickle.dumps(1 << 100_000))


def test_hostile_keys_cost_no_time():
    doubled = b"K\x01\x85" + b"2\x86" * 45  # a tuple of two tuples of two tuples: 2^45 leaves to hash
    colliding = b"".join(
        b"(" + b"".join(b"J" + struct.pack("<i", -1 - (row >> bit & 1)) for bit in range(8)) + b"tN"
        for row in range(256)
    )
    begin = time.monotonic()
    with pytest.raises(DamagedCheckpoint, match="cannot be a key"):
        read(b"}" + doubled + b"Ns.")
    with pytest.raises(CheckpointTooLarge):
        read(b"}(" + colliding + b"u.", SMALL)
    assert time.monotonic() - begin < 2


def test_copying_one_list_many_times_is_counted():
    many = b"\x80\x04](" + b"N" * 5_000 + b"e\x94" + b"ccollections\nOrderedDict\nh\x00\x85R" * 10 + b"."
    with pytest.raises((CheckpointTooLarge, DamagedCheckpoint)):
        read(many, SMALL)


@pytest.mark.parametrize(
    "data",
    [
        b"(" + b"\x8f" * 500_000 + b".",
        b"(" + b"(\x91" * 300_000 + b".",
        b"cm\nn\n\x94(" + b"h\x00)R" * 200_000 + b".",
        b"(" + b"}\x94" * 300_000 + b".",
        b"(" + b"(im\nn\n" * 150_000 + b".",
    ],
)
def test_a_pickle_of_a_megabyte_cannot_fill_the_memory(data):
    tracemalloc.start()
    with pytest.raises(CheckpointTooLarge, match="pickle operations"):
        read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000_000


def test_one_buffer_in_many_arrays_is_counted():
    shared = np.zeros(200_000, ">f8").tobytes()
    many = b"".join(
        [b"\x80\x04(", pickle.dumps(np.dtype(">f8"), 2)[2:-1], b"q\x00", b"B", struct.pack("<I", len(shared)), shared,
         b"q\x01", b"cnumpy.core.numeric\n_frombuffer\nq\x02",
         b"h\x02(h\x01h\x00J@\r\x03\x00\x85\x8c\x01CtR" * 40, b"."]
    )  # fmt: skip
    with pytest.raises(CheckpointTooLarge, match="array elements"):
        read(many)


def test_a_container_that_is_filled_after_it_was_put_into_another_counts_as_deep():
    chain = b"".join(b"]\x94a0j" + struct.pack("<I", index) for index in range(1, 300))
    with pytest.raises(CheckpointTooLarge, match="depth"):
        read(b"(]\x94" + chain + b"h\x00.")


def test_a_cycle_is_read():
    value = read(b"]\x94h\x00a.")
    assert isinstance(value, list)
    assert value[0] is value
