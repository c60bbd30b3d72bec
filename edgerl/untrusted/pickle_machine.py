"""The stack machine behind :func:`edgerl.untrusted.unpickle.read_pickle`: what each opcode of a pickle does here.

Stack, marks and memo hold plain values and inert records. Reference: Lib/pickletools.py of CPython.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import TypeAlias, cast

import numpy as np

from edgerl.errors import DamagedCheckpoint, UnsafeCheckpoint
from edgerl.untrusted.foreign import Foreign, Malformed, Pending
from edgerl.untrusted.limits import CONTAINER_COST, Budget
from edgerl.untrusted.nesting import check_nesting
from edgerl.untrusted.rebuild import BUILTIN, KNOWN, NUMPY, Rebuilders, checked_key

_PYTHON2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_MAX_NAME = 512
"""Characters in a dotted name; names are shown to people and joined by ``getattr``."""
_MAX_INTEGER_BITS = 2048
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE"),
    *("BINBYTES", "BINBYTES8", "SHORT_BINBYTES", "BYTEARRAY8"),
}
_REFUSED = {
    "EXT1": "an extension code, which only the process that wrote it can resolve",
    "EXT2": "an extension code, which only the process that wrote it can resolve",
    "EXT4": "an extension code, which only the process that wrote it can resolve",
    "NEXT_BUFFER": "a buffer that is not in the file",
    "READONLY_BUFFER": "a buffer that is not in the file",
}


class Machine:
    """Stack, marks and memo of one pickle."""

    def __init__(
        self, where: str, budget: Budget, rebuilders: Rebuilders, persistent: Callable[[object], object] | None
    ) -> None:
        self._where = where
        self.foreign: set[str] = set()
        self._budget = budget
        self._rebuilders = {**BUILTIN, **NUMPY, **rebuilders}
        self._persistent = persistent
        self._stack: list[object] = []
        self._marks: list[list[object]] = []
        self._memo: dict[int, object] = {}

    def run(self, data: bytes) -> object:
        """Interpret the opcodes up to STOP and return what they made."""
        position = 0
        try:
            for opcode, argument, at in pickletools.genops(data):
                position = at or 0
                self._budget.spend_operations(1)
                if opcode.name == "STOP":
                    value = self.drop()
                    check_nesting(value, self._budget)
                    return value
                self._act(opcode.name, argument)
        except (Malformed, ValueError, OverflowError, Warning) as error:
            what = f"not a valid pickle, byte {position}: {str(error)[:200]}"
            raise DamagedCheckpoint(self._where, what) from error
        raise DamagedCheckpoint(self._where, "not a valid pickle: it has no end")

    def _act(self, name: str, argument: object) -> None:
        if name in _LITERALS:
            if type(argument) is int and argument.bit_length() > _MAX_INTEGER_BITS:
                raise Malformed(f"an integer of {argument.bit_length()} bits")
            self._stack.append(argument)
            return
        action = _ACTIONS.get(name)
        if action is None:
            raise UnsafeCheckpoint(
                self._where,
                f"the pickle uses {_REFUSED.get(name, name)}",
                "Save the policy again with the trainer's own save function.",
            )
        action(self, argument)

    # -- stack and marks

    def drop(self) -> object:
        """Take the top off the stack and return it."""
        if not self._stack:
            raise Malformed("the stack is empty")
        return self._stack.pop()

    def _top(self) -> object:
        if not self._stack:
            raise Malformed("the stack is empty")
        return self._stack[-1]

    def push_literal(self, value: object) -> None:
        """Push a constant."""
        self._stack.append(value)

    def push(self, value: object) -> None:
        """Push a new container or record."""
        self._budget.spend_operations(CONTAINER_COST)
        self._stack.append(value)

    def mark(self, _argument: object) -> None:
        """MARK: begin a new stack above this one."""
        self._budget.check_depth(len(self._marks))
        self._marks.append(self._stack)
        self._stack = []

    def since_mark(self) -> list[object]:
        """Return what was pushed since the last mark, and drop the mark."""
        if not self._marks:
            raise Malformed("there is no mark")
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def pop(self, _argument: object) -> None:
        """POP: drop the top, or an empty mark."""
        if self._stack or not self._marks:
            self.drop()
        else:
            self.since_mark()

    def pop_mark(self, _argument: object) -> None:
        """POP_MARK: drop everything since the mark."""
        self.since_mark()

    def duplicate(self, _argument: object) -> None:
        """DUP."""
        self._stack.append(self._top())

    # -- memo

    def memoize(self, argument: object) -> None:
        """PUT, MEMOIZE: remember the top under a number."""
        key = len(self._memo) if argument is None else cast("int", argument)
        value = self._top()
        if isinstance(value, Pending):
            value.memo_keys.append(key)
        self._memo[key] = value

    def recall(self, argument: object) -> None:
        """GET."""
        key = cast("int", argument)
        if key not in self._memo:
            raise Malformed(f"the memo has no entry {key}")
        self._stack.append(self._memo[key])

    # -- containers

    def sequence(self, size: int | None, kind: Callable[[list[object]], object]) -> None:
        """TUPLE, LIST, FROZENSET: make a container of the last ``size`` values, or of all since the mark."""
        items = self.since_mark() if size is None else [self.drop() for _ in range(size)][::-1]
        if kind is frozenset:
            items = [checked_key(self._budget, item) for item in items]
        self.push(kind(items))

    def extend(self, items: list[object]) -> None:
        """APPEND, APPENDS, ADDITEMS: add to the container on top."""
        target = self._top()
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, set):
            target.update(checked_key(self._budget, item) for item in items)
        elif isinstance(target, Foreign):
            target.items.extend(items)
        else:
            raise Malformed(f"nothing can be added to a {type(target).__name__}")

    def set_items(self, flat: list[object]) -> None:
        """SETITEM, SETITEMS: set key and value pairs of the container on top."""
        if len(flat) % 2:
            raise Malformed("a key without a value")
        target = self._top()
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            if isinstance(target, dict):
                target[checked_key(self._budget, key)] = value
            elif isinstance(target, Foreign):
                target.entries.append((key, value))
            else:
                raise Malformed(f"a {type(target).__name__} has no items")

    def dictionary(self, _argument: object) -> None:
        """DICT: make a dictionary of the pairs since the mark."""
        items = self.since_mark()
        self.push({})
        self.set_items(items)

    # -- globals and objects

    def push_global(self, module: object, name: object) -> None:
        """GLOBAL, STACK_GLOBAL: push the record of a global, and note it where it is foreign."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Malformed("the name of a global is not text")
        if not module or not name or len(module) + len(name) > _MAX_NAME:
            raise Malformed("the name of a global is empty or too long")
        module = _PYTHON2.get(module, module)
        key = (module, name)
        if key not in self._rebuilders and key not in KNOWN and key not in _STRUCTURAL:
            self.foreign.add(f"{module}.{name}")
        self.push(Foreign(module, name))

    def stack_global(self, _argument: object) -> None:
        """STACK_GLOBAL."""
        name, module = self.drop(), self.drop()
        self.push_global(module, name)

    def reduce(self, _argument: object) -> None:
        """REDUCE: what would have been a call becomes a rebuilt value or a record."""
        arguments, called = self.drop(), self.drop()
        if not isinstance(arguments, tuple):
            raise Malformed("the arguments of a call are not a tuple")
        self.push(self._called(called, arguments))

    def _called(self, called: object, arguments: tuple[object, ...]) -> object:
        if not isinstance(called, Foreign):
            raise Malformed(f"a {type(called).__name__} cannot be called")
        self._budget.spend_operations(len(arguments) // 8)
        if called.args is not None:  # the result of another call, as of functools.partial
            return Foreign(called.module, called.name, (called, *arguments))
        key = (called.module, called.name)
        if key in _STRUCTURAL:
            made = _STRUCTURAL[key](arguments)
            self.foreign.add(made.qualified)
            return made
        if key in self._rebuilders:
            return self._rebuilders[key](self._budget, arguments)
        return Foreign(*key, arguments)

    def new_object(self, *, keywords: bool) -> None:
        """NEWOBJ, NEWOBJ_EX: ``cls.__new__(cls, *args, **kwargs)`` becomes a record of it."""
        kwargs = self.drop() if keywords else {}
        arguments, cls = self.drop(), self.drop()
        if not isinstance(arguments, tuple) or not isinstance(kwargs, dict) or not isinstance(cls, Foreign):
            raise Malformed("an object needs a class, a tuple and a dictionary")
        made = self._called(cls, arguments)
        if isinstance(made, Foreign):
            made.kwargs = kwargs
        self.push(made)

    def instance(self, argument: object) -> None:
        """INST: an object of a class by name with the arguments since the mark."""
        arguments = self.since_mark()
        self.push_global(*_split(argument))
        self.push(self._called(self.drop(), tuple(arguments)))

    def object_since_mark(self, _argument: object) -> None:
        """OBJ: class and arguments lie since the mark."""
        items = self.since_mark()
        if not items:
            raise Malformed("an object without a class")
        self.push(self._called(items[0], tuple(items[1:])))

    def build(self, _argument: object) -> None:
        """BUILD: give the object on top its state."""
        state = self.drop()
        target = self._top()
        if isinstance(target, Pending):
            self._replace_top(target, target.build(state))
        elif isinstance(target, Foreign):
            target.state = state
        elif isinstance(target, np.dtype) or not isinstance(target, (dict, list, set)):
            raise Malformed(f"a {type(target).__name__} has no state")
        # The attributes of a container (a module's _metadata on its OrderedDict) are not used by anyone.

    def _replace_top(self, pending: Pending, value: object) -> None:
        self._stack[-1] = value
        for key in pending.memo_keys:
            if self._memo.get(key) is pending:
                self._memo[key] = value

    def persistent(self, key: object) -> None:
        """PERSID, BINPERSID: a reference to something outside the pickle."""
        if self._persistent is None:
            raise UnsafeCheckpoint(
                self._where,
                "the pickle refers to an object outside itself",
                "Save the policy again with the trainer's own save function.",
            )
        self.push(self._persistent(key))


def _split(pair: object) -> tuple[str, str]:
    """Split ``module name``, the argument of GLOBAL and INST."""
    module, _, name = cast("str", pair).partition(" ")
    return module, name


def _get_attribute(arguments: tuple[object, ...]) -> Foreign:
    """Name an attribute of a global; protocols below 4 write nested classes and enumerations so."""
    if len(arguments) == 2 and isinstance(arguments[1], str):
        owner = arguments[0]
        if isinstance(owner, Foreign) and owner.args is None and len(owner.name) + len(arguments[1]) < _MAX_NAME:
            return Foreign(owner.module, f"{owner.name}.{arguments[1]}")
    return Foreign("builtins", "getattr", arguments)


def _reconstruct_object(arguments: tuple[object, ...]) -> Foreign:
    """``copyreg._reconstructor(cls, base, state)``, how protocols 0 and 1 make objects."""
    if arguments and isinstance(arguments[0], Foreign):
        return Foreign(arguments[0].module, arguments[0].name, arguments[1:])
    return Foreign("copyreg", "_reconstructor", arguments)


_STRUCTURAL: dict[tuple[str, str], Callable[[tuple[object, ...]], Foreign]] = {
    ("builtins", "getattr"): _get_attribute,
    ("copyreg", "_reconstructor"): _reconstruct_object,
}


_Action: TypeAlias = Callable[[Machine, object], None]


def _constant(value: object) -> _Action:
    return lambda machine, _: machine.push_literal(value)


def _empty(make: Callable[[], object]) -> _Action:
    return lambda machine, _: machine.push(make())


def _sequence(size: int | None, kind: Callable[[list[object]], object]) -> _Action:
    return lambda machine, _: machine.sequence(size, kind)


_ACTIONS: dict[str, _Action] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda _machine, _: None),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine.memoize),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine.recall),
    "NONE": _constant(None),
    "NEWTRUE": _constant(value=True),
    "NEWFALSE": _constant(value=False),
    "EMPTY_TUPLE": _constant(()),
    "EMPTY_LIST": _empty(list),
    "EMPTY_DICT": _empty(dict),
    "EMPTY_SET": _empty(set),
    "LIST": _sequence(None, list),
    "TUPLE": _sequence(None, tuple),
    "TUPLE1": _sequence(1, tuple),
    "TUPLE2": _sequence(2, tuple),
    "TUPLE3": _sequence(3, tuple),
    "FROZENSET": _sequence(None, frozenset),
    "DICT": Machine.dictionary,
    "APPEND": lambda machine, _: machine.extend([machine.drop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "ADDITEMS": lambda machine, _: machine.extend(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.drop(), machine.drop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "MARK": Machine.mark,
    "POP": Machine.pop,
    "POP_MARK": Machine.pop_mark,
    "DUP": Machine.duplicate,
    "GLOBAL": lambda machine, pair: machine.push_global(*_split(pair)),
    "STACK_GLOBAL": Machine.stack_global,
    "REDUCE": Machine.reduce,
    "NEWOBJ": lambda machine, _: machine.new_object(keywords=False),
    "NEWOBJ_EX": lambda machine, _: machine.new_object(keywords=True),
    "INST": Machine.instance,
    "OBJ": Machine.object_since_mark,
    "BUILD": Machine.build,
    "PERSID": Machine.persistent,
    "BINPERSID": lambda machine, _: machine.persistent(machine.drop()),
}
"""What each opcode does, by its name in :mod:`pickletools`."""
