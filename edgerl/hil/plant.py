"""A Gymnasium environment as a robot: a process that speaks the robot port and keeps a robot's time.

A late or missing command is late or missing in the physics too (:mod:`edgerl.hil.episodes`). After ``realtime_seconds``
it asks for lockstep and goes as fast as both sides go. Every episode begins WAITING.

Run it with ``python -m edgerl.hil.plant --env HalfCheetah-v5``; it prints the lines of
:mod:`edgerl.runtime.plant_lines`.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from edgerl import canonical
from edgerl.errors import EdgerlError
from edgerl.hil import environment
from edgerl.hil.episodes import Plant, PlantConfig
from edgerl.hil.port import UdpRobotSide
from edgerl.hil.spaces import ActionChannels, ObservationChannels
from edgerl.runtime.frames import FrameWriter
from edgerl.runtime.layout import Layout
from edgerl.runtime.plant_lines import Listening, PlantEnd, PlantLine
from edgerl.runtime.processes import die_with_parent
from edgerl.runtime.realtime import be_realtime


def serve(config: PlantConfig, report: Callable[[PlantLine], None]) -> PlantEnd:
    """Make the environment, listen, serve one controller, and report every line as it comes, the end included.

    Raises:
        MissingExtra: Gymnasium or the simulator is not installed.
        LoopError: The environment does not exist, or its spaces do not fit the robot port.
    """
    env = environment.make(config.env)
    observed = ObservationChannels(env.observation_space, config.layout.frames if config.layout else None)
    channels = observed, ActionChannels(env.action_space)
    if config.layout is not None:
        channels[0].adopt(config.layout.state)
        channels[1].adopt(config.layout.command)
    layout = Layout(channels[0].channels, channels[1].channels, channels[0].frames)
    period_ns = config.period_ns or environment.period_ns(env)
    with contextlib.ExitStack() as stack:
        stack.callback(env.close)
        port = UdpRobotSide(config.listen, layout, period_ns, lockstep_possible=True)
        stack.callback(port.close)
        frames = stack.enter_context(_frames(config, layout))
        env.reset(seed=config.seed)  # loads what the simulator loads late
        priority = be_realtime(config.priority if config.realtime_seconds > 0 else 0, limit_us=0)
        counts = len(layout.state), len(layout.command)
        report(Listening("listening", *port.address, period_ns, *counts, priority))
        end = Plant(env, config, port, channels, frames).run(report)
        report(end)
        return end


def _frames(config: PlantConfig, layout: Layout) -> FrameWriter:
    given = {frame.name: (frame.shape, frame.dtype) for frame in layout.frames}
    connected = [socket.socket(fileno=descriptor) for descriptor in config.frame_sockets]
    return FrameWriter(given, config.frames, connected=connected)


def main(arguments: list[str] | None = None) -> int:
    """Run a plant from the command line; returns its exit status."""
    try:
        serve(_config(arguments), lambda line: print(canonical.dumps(line), flush=True))  # noqa: T201
    except EdgerlError as error:
        print(f"plant: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _config(arguments: list[str] | None) -> PlantConfig:
    parser = argparse.ArgumentParser(
        prog="python -m edgerl.hil.plant", description="A Gymnasium environment as a robot."
    )
    parser.add_argument("--env", required=True, help="Gymnasium id, or module:id")
    parser.add_argument("--listen", default="127.0.0.1:0", help="address:port, port 0 for any")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--episodes", type=int, default=1)
    parser.add_argument("--realtime-seconds", type=float, default=math.inf, help="then lockstep; default: never")
    parser.add_argument("--budget-fraction", type=float, default=0.8, help="share of the period until it integrates")
    parser.add_argument("--period-ns", type=int, help="where the environment does not say its period")
    parser.add_argument("--claim-timeout-s", type=float, default=60.0)
    parser.add_argument("--priority", type=int, default=0, help="SCHED_FIFO priority to try in real time")
    parser.add_argument("--layout", type=Path, help="JSON file with the names and units of the channels")
    parser.add_argument("--frames", type=Path, help="socket that gives the environment's images to whoever asks")
    parser.add_argument("--frame-socket", type=int, action="append", default=[], help="descriptor of a connected one")
    parser.add_argument("--parent", type=int, help="end with this process, which has started the plant")
    given = vars(parser.parse_args(arguments))
    parent = given.pop("parent")
    if parent is not None:
        die_with_parent(parent)
    host, _, port = given.pop("listen").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        parser.error("--listen: expected address:port")
    if given["episodes"] < 1 or not 0 < given["budget_fraction"] <= 1 or not given["realtime_seconds"] >= 0:
        parser.error("--episodes must be 1 or more, --budget-fraction in (0, 1], --realtime-seconds 0 or more")
    if given["layout"] is not None:
        given["layout"] = canonical.loads(Layout, given["layout"].read_bytes(), str(given["layout"]))
    given["frame_sockets"] = tuple(given.pop("frame_socket"))
    return PlantConfig(listen=(host, int(port)), **given)


if __name__ == "__main__":
    sys.exit(main())
