"""Makes a Gymnasium environment and reads its period. The only module of edgerl that imports Gymnasium."""

from __future__ import annotations

import sys
from typing import Any, Protocol, cast

from edgerl.errors import LoopError, MissingExtra, PortError


class Environment(Protocol):
    """What the plant uses of a ``gymnasium.Env``."""

    observation_space: Any
    action_space: Any

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; returns observation and info."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401  the space's type
        """Integrate one period; returns observation, reward, terminated, truncated, info."""

    def close(self) -> None:
        """Free what the simulator holds."""


def make(env_id: str) -> Environment:
    """Return the environment with Gymnasium's id, or ``module:id`` for one that the module registers.

    Raises:
        MissingExtra: Gymnasium, or the simulator that the environment needs, is not installed.
        LoopError: There is no such environment, or it does not start.
    """
    try:
        import gymnasium  # noqa: PLC0415  an optional dependency
    except ImportError as error:
        raise MissingExtra("A Gymnasium environment as the robot", "sim") from error
    _keep_mujoco_off_the_disk()
    try:
        return cast(Environment, gymnasium.make(env_id, disable_env_checker=True))
    except gymnasium.error.DependencyNotInstalled as error:
        raise MissingExtra(f"The environment '{env_id}' ({error})", "sim") from error
    except ImportError as error:
        raise LoopError(
            f"The environment '{env_id}' could not be imported ({error}). Expected module:id with a module on "
            "PYTHONPATH that registers the id."
        ) from error
    except gymnasium.error.Error as error:
        raise LoopError(
            f"Gymnasium has no environment '{env_id}' ({error}). Expected an id such as HalfCheetah-v5, "
            "or module:id for one that the module registers."
        ) from error


def period_ns(env: Environment) -> int | None:
    """Return the time that one step of the environment stands for, where it says so (``dt`` or ``tau``, in seconds).

    ``render_fps`` is no such statement: Pendulum renders at 30 Hz and steps at 20.

    Raises:
        PortError: It says something that is no period.
    """
    inner = getattr(env, "unwrapped", env)
    for name in ("dt", "tau"):
        value = getattr(inner, name, None)
        if value is not None:
            try:
                period = round(float(value) * 1e9)
            except (TypeError, ValueError, OverflowError) as error:
                raise PortError(
                    f"The environment's {name} is {value!r}; expected seconds. Give --period-ns."
                ) from error
            if period <= 0:
                raise PortError(f"The environment's {name} is {value!r}; expected more than 0. Give --period-ns.")
            return period
    return None


def _keep_mujoco_off_the_disk() -> None:
    """MuJoCo appends its warnings to MUJOCO_LOG.TXT in the working directory unless somebody takes them."""
    try:
        import mujoco  # noqa: PLC0415  an optional dependency
    except ImportError:
        return
    mujoco.set_mju_user_warning(lambda text: print(f"MuJoCo: {text}", file=sys.stderr))  # noqa: T201
