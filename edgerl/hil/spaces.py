"""Gymnasium spaces as channels of the robot port: flat float32 both ways, with names.

Knows the spaces by their attributes, so that this module needs no Gymnasium. Integers travel as float32, which is exact
up to 2**24; a larger one is refused. Images are refused: they do not fit a datagram.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgerl.errors import LoopError
from edgerl.runtime import wire
from edgerl.runtime.layout import NO_UNIT, Channel

Space: TypeAlias = Any
"""A ``gymnasium.spaces.Space``; Gymnasium is an optional dependency."""

_EXACT = 2**24
_SUPPORTED = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict observations of these"


class ObservationChannels:
    """Turns an environment's observation into state channels.

    Args:
        space: The environment's observation space.

    Raises:
        LoopError: The space holds an image, another kind of space, or too many elements.
    """

    def __init__(self, space: Space) -> None:
        parts = space.spaces.items() if _kind(space) == "Dict" else [(None, space)]
        self._keys = [key for key, _ in parts]
        names = []
        for key, part in parts:
            name = "observation" if key is None else f"observation.{key}"
            names += [f"{name}[{index}]" for index in range(_observation_size(name, part))]
        if len(names) > wire.MAX_STATE_CHANNELS:
            raise LoopError(
                f"The environment observes {len(names)} values; a datagram of the robot port carries "
                f"{wire.MAX_STATE_CHANNELS}. Images and large observations do not travel over the robot port."
            )
        self.channels = tuple(Channel(name, NO_UNIT) for name in names)
        self._order: npt.NDArray[np.intp] | None = None

    def adopt(self, channels: tuple[Channel, ...]) -> None:
        """Send the channels in this order and with these units from now on.

        Raises:
            LoopError: The names are not those of the environment.
        """
        own = {channel.name: index for index, channel in enumerate(self.channels)}
        names = [channel.name for channel in channels]
        if sorted(names) != sorted(own):
            raise LoopError(
                f"The policy observes {_listed(names)}; the environment gives {_listed(list(own))}. "
                "Run the environment that the policy was trained in, with the same wrappers."
            )
        self.channels = channels
        self._order = np.array([own[name] for name in names], np.intp)

    def flatten(self, observation: object) -> wire.Floats:
        """Return the state channels of an observation, shape (channels,), float32."""
        parts = [observation if key is None else observation[key] for key in self._keys]  # type: ignore[index]
        with np.errstate(over="ignore", invalid="ignore"):  # judging infinities is the guardian's
            flat = np.concatenate([np.asarray(part).reshape(-1).astype(np.float32) for part in parts])
        return flat if self._order is None else flat[self._order]


class ActionChannels:
    """Turns commands into an environment's actions, the nearest valid one where a command is outside the space.

    Args:
        space: The environment's action space.

    Raises:
        LoopError: The space is of another kind or has too many elements.
    """

    def __init__(self, space: Space) -> None:
        self._kind = _kind(space)
        if self._kind not in ("Box", "Discrete", "MultiDiscrete", "MultiBinary"):
            raise LoopError(f"The environment's action space is {self._kind}. Supported: {_SUPPORTED}.")
        self._shape: tuple[int, ...] = tuple(space.shape)
        self._dtype = np.dtype(space.dtype)
        size = max(1, math.prod(self._shape))
        if size > wire.MAX_COMMAND_CHANNELS:
            raise LoopError(f"The environment takes {size} values; a datagram carries {wire.MAX_COMMAND_CHANNELS}.")
        self._start = np.zeros(size, np.int64)
        self._low: npt.NDArray[np.float64]
        self._high: npt.NDArray[np.float64]
        if self._kind == "Box":
            self._low = np.asarray(space.low, np.float64).reshape(-1)
            self._high = np.asarray(space.high, np.float64).reshape(-1)
        else:
            self._low, self._high = np.zeros(size), _last_index(space, size)
            self._start += np.asarray(getattr(space, "start", 0)).reshape(-1)
        self.channels = tuple(Channel(f"action[{index}]", NO_UNIT) for index in range(size))

    @property
    def lapse(self) -> wire.Floats:
        """What is applied when no command is valid: zeros, moved to the nearest bound; index 0 for discrete kinds."""
        return np.clip(np.zeros(len(self._low)), self._low, self._high).astype(np.float32)

    def adopt(self, channels: tuple[Channel, ...]) -> None:
        """Call the channels by these names and units from now on.

        Raises:
            LoopError: Their number is not that of the environment.
        """
        if len(channels) != len(self.channels):
            raise LoopError(
                f"The policy commands {len(channels)} channels; the environment takes {len(self.channels)}. "
                "Run the environment that the policy was trained in."
            )
        self.channels = channels

    def unflatten(self, values: wire.Floats) -> tuple[object, bool]:
        """Return the environment's action of a finite command, and whether it had to be moved into the space."""
        wanted = values.astype(np.float64)
        inside = np.clip(wanted, self._low, self._high)
        if self._kind == "Box":
            # A float64 bound may lie between two float32: only a real distance counts as outside.
            moved = bool(np.any(np.abs(inside - wanted) > 1e-6 * np.maximum(1.0, np.abs(wanted))))
            return inside.astype(self._dtype).reshape(self._shape), moved
        index = np.rint(inside)
        moved = bool(np.any(index != wanted))
        action = (index.astype(np.int64) + self._start).astype(self._dtype)
        return (self._dtype.type(action[0]) if self._kind == "Discrete" else action.reshape(self._shape)), moved


def _kind(space: Space) -> str:
    for base in type(space).__mro__:
        if base.__name__ in ("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict"):
            return str(base.__name__)
    return type(space).__name__


def _observation_size(name: str, space: Space) -> int:
    kind = _kind(space)
    if kind not in ("Box", "Discrete", "MultiDiscrete", "MultiBinary"):
        raise LoopError(f"'{name}' is a {kind} space. Supported: {_SUPPORTED}.")
    shape = tuple(space.shape)
    if kind == "Box" and len(shape) >= 2 and np.dtype(space.dtype) == np.uint8:
        raise LoopError(
            f"'{name}' is an image of shape {shape}. Images do not travel over the robot port, whose datagrams carry "
            f"{wire.MAX_STATE_CHANNELS} numbers; this version runs policies with vector observations."
        )
    if kind in ("Discrete", "MultiDiscrete"):
        size = max(1, math.prod(shape))
        largest = float(np.max(_last_index(space, size) + np.asarray(getattr(space, "start", 0)).reshape(-1)))
        if largest > _EXACT:
            raise LoopError(f"'{name}' counts up to {largest:.0f}; the robot port carries integers up to {_EXACT}.")
    return max(1, int(math.prod(shape)))


def _last_index(space: Space, size: int) -> npt.NDArray[np.float64]:
    kind = _kind(space)
    if kind == "MultiBinary":
        return np.ones(size)
    count = space.n if kind == "Discrete" else space.nvec
    return np.asarray(count, np.float64).reshape(-1) - 1.0


def _listed(names: list[str]) -> str:
    return f"{len(names)} channels ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
