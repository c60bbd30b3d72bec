"""Foreign: the inert record that stands for whatever a pickle asked to import.

Nothing is imported, called or looked up. A record keeps what the pickle would have passed, so that a reader can find
``torch.nn.modules.activation.ReLU`` in it, or the bounds of a Gymnasium space, and refuse what it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass, field


class Malformed(Exception):
    """The bytes break the format; the reader that knows the file's name turns this into its own error."""


@dataclass(eq=False, slots=True)
class Foreign:
    """A global of a pickle that is not on the allow-list, or the object that calling it would have made.

    Hashed and compared by identity, because parameters are keys of pickled optimizers.
    """

    module: str
    name: str
    args: tuple[object, ...] | None = None
    """Positional arguments of the call; ``None``: the global itself, not called."""
    kwargs: dict[object, object] = field(default_factory=dict)
    state: object = None
    """What ``__setstate__`` or the object's ``__dict__`` would have been given."""
    items: list[object] = field(default_factory=list)
    """What would have been appended or added."""
    entries: list[tuple[object, object]] = field(default_factory=list)
    """Key and value pairs that would have been set."""
    memo_keys: list[int] = field(default_factory=list)
    """Where the pickle's memo keeps this record; used while reading only."""

    @property
    def qualified(self) -> str:
        """``module.name``."""
        return f"{self.module}.{self.name}"

    @property
    def attributes(self) -> dict[str, object]:
        """Attributes that the state would have set, by name; those of ``__slots__`` included."""
        found: dict[str, object] = {}
        parts = self.state if isinstance(self.state, tuple) else (self.state,)
        for part in parts[:2]:
            if isinstance(part, dict):
                found.update((key, value) for key, value in part.items() if isinstance(key, str))
        return found

    def __repr__(self) -> str:
        what = "global" if self.args is None else "object"
        return f"<foreign {what} {self.qualified}>"


def brief(value: object) -> str:
    """Return a value from a file as a message can show it: a name, a short literal, or its type."""
    if isinstance(value, Foreign):
        return value.qualified
    if value is None or isinstance(value, (bool, float)):
        return str(value)
    if isinstance(value, str):
        return repr(value[:60])
    if type(value) is int:
        return str(value) if value.bit_length() <= 64 else f"an integer of {value.bit_length()} bits"
    return f"a {type(value).__name__}"


class Pending(Foreign):
    """A record that its state turns into a value: an array or a dtype between ``REDUCE`` and ``BUILD``."""

    __slots__ = ()

    def build(self, state: object) -> object:
        """Return the finished value, or ``self`` where the state describes something that stays inert.

        Raises:
            Malformed: The state is not what the real class would accept.
        """
        raise NotImplementedError
