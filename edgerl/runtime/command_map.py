"""From the policy's action to the command in the robot's unit: the same arithmetic on the robot and in ``pack``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgerl.spec import Action


class CommandMap:
    """Command = action x scale + offset, in float32; nothing at all where the spec names neither."""

    def __init__(self, action: Action) -> None:
        self._scale = None if action.scale is None else np.array(action.scale, np.float32)
        self._offset = None if action.offset is None else np.array(action.offset, np.float32)

    def apply(self, values: npt.NDArray[np.float32]) -> None:
        """Turn actions into commands in place, without allocating.

        Args:
            values: Shape (channels,) or (rows, channels), in the order of the spec's action.
        """
        if self._scale is not None:
            np.multiply(values, self._scale, out=values)
        if self._offset is not None:
            np.add(values, self._offset, out=values)
