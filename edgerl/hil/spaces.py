"""Gymnasium spaces as channels of the robot port: flat float32 both ways, with names.

Knows the spaces by their attributes, so that this module needs no Gymnasium. Integers travel as float32, which is exact
up to 2**24; a larger one is refused. Images, and boxes that no datagram can carry, are frames: arrays as they are.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgerl.errors import LoopError
from edgerl.frame_inputs import IMAGE_RANK, MAX_CHANNELS
from edgerl.runtime import wire
from edgerl.runtime.layout import NO_UNIT, Channel, FrameChannel
from edgerl.spec import Dtype

Space: TypeAlias = Any
"""A ``gymnasium.spaces.Space``; Gymnasium is an optional dependency."""

_EXACT = 2**24
_SUPPORTED = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict observations of these"


class ObservationChannels:
    """Turns an environment's observation into state channels and frames.

    Args:
        space: The environment's observation space.
        frames: What the policy takes as frames; None: images, and boxes that no datagram can carry.

    Raises:
        LoopError: The space holds another kind of space, too many elements, or not these frames.
    """

    def __init__(self, space: Space, frames: tuple[FrameChannel, ...] | None = None) -> None:
        parts = space.spaces.items() if _kind(space) == "Dict" else [(None, space)]
        named = {"observation" if key is None else f"observation.{key}": (key, part) for key, part in parts}
        sizes = {name: _observation_size(name, part) for name, (_, part) in named.items()}
        if frames is None:
            frames = tuple(_frame(name, part) for name, (_, part) in named.items() if _is_frame(part, sizes[name]))
        for frame in frames:
            _check_frame(frame, {name: part for name, (_, part) in named.items()})
        self.frames = frames
        """The images of an observation."""
        self._frame_keys = [named[frame.name][0] for frame in frames]
        others = [name for name in named if name not in {frame.name for frame in frames}]
        self._keys = [named[name][0] for name in others]
        names = [f"{name}[{index}]" for name in others for index in range(sizes[name])]
        if len(names) > wire.MAX_STATE_CHANNELS:
            raise LoopError(
                f"The environment observes {len(names)} values beside images; a datagram of the robot port carries "
                f"{wire.MAX_STATE_CHANNELS}. Put them into one box, which then travels as an image does."
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
                f"The bundle wants {_listed(names)} as state; the environment gives {_listed(list(own))}. "
                "Run the environment that the policy was trained in, with the same wrappers; channels that only the "
                "envelope names ([state.channels]) take a robot that measures them."
            )
        self.channels = channels
        self._order = np.array([own[name] for name in names], np.intp)

    def flatten(self, observation: object) -> wire.Floats:
        """Return the state channels of an observation, shape (channels,), float32."""
        parts = [np.asarray(_part(observation, key)).reshape(-1) for key in self._keys]
        with np.errstate(over="ignore", invalid="ignore"):  # judging infinities is the guardian's
            flat = np.concatenate([np.zeros(0, np.float32), *(part.astype(np.float32) for part in parts)])
        return flat if self._order is None else flat[self._order]

    def images(self, observation: object) -> list[npt.NDArray[np.generic]]:
        """Return the frames of an observation, in their shapes and dtypes."""
        pairs = zip(self.frames, self._frame_keys, strict=True)
        with np.errstate(over="ignore", invalid="ignore"):  # judging infinities is the core's
            return [np.asarray(_part(observation, key)).astype(frame.dtype) for frame, key in pairs]


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
    if kind in ("Discrete", "MultiDiscrete"):
        size = max(1, math.prod(shape))
        largest = float(np.max(_last_index(space, size) + np.asarray(getattr(space, "start", 0)).reshape(-1)))
        if largest > _EXACT:
            raise LoopError(f"'{name}' counts up to {largest:.0f}; the robot port carries integers up to {_EXACT}.")
    return max(1, int(math.prod(shape)))


def _is_frame(space: Space, size: int) -> bool:
    """As :func:`edgerl.frame_inputs.is_frame` says it of a policy's input."""
    image = np.dtype(space.dtype) == np.uint8 and len(space.shape) >= IMAGE_RANK
    return _kind(space) == "Box" and (image or size > MAX_CHANNELS)


def _frame(name: str, space: Space) -> FrameChannel:
    """Return the frame of a space, in the type that an importer gives a policy's input of it."""
    dtype = np.dtype(space.dtype)
    kind: Dtype = "uint8" if dtype in (np.uint8, np.bool_) else "int32" if dtype.kind in "iu" else "float32"
    return FrameChannel(name, tuple(space.shape), kind)


def _check_frame(frame: FrameChannel, spaces: dict[str, Space]) -> None:
    space = spaces.get(frame.name)
    if space is not None and tuple(space.shape) == frame.shape and np.can_cast(space.dtype, frame.dtype, "same_kind"):
        return
    given = "none of this name" if space is None else f"{np.dtype(space.dtype)} of shape {tuple(space.shape)}"
    raise LoopError(
        f"The policy observes the image {frame.name}, {frame.dtype} of shape {frame.shape}; the environment gives "
        f"{given}. Run the environment that the policy was trained in, with the same wrappers."
    )


def _part(observation: Any, key: str | None) -> Any:  # noqa: ANN401  of whatever type the space is
    return observation if key is None else observation[key]


def _last_index(space: Space, size: int) -> npt.NDArray[np.float64]:
    kind = _kind(space)
    if kind == "MultiBinary":
        return np.ones(size)
    count = space.n if kind == "Discrete" else space.nvec
    return np.asarray(count, np.float64).reshape(-1) - 1.0


def _listed(names: list[str]) -> str:
    return f"{len(names)} channels ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
