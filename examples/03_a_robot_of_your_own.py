"""A robot of your own: one cart on a rail, driven over UDP by a policy that was put together by hand.

The robot's side is `serve`: measure, publish, take the newest valid command, act. `docs/robot-port.md` has it byte by
byte, for any language. The policy is a spring and a damper written as one Dense block, so that you can see it work.
"""

import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

import edgerl
from edgerl.hil.port import UdpRobotSide
from edgerl.policy import ActionMap, Dense, Network
from edgerl.runtime.layout import Channel, Layout
from edgerl.runtime.wire import StateFlag
from edgerl.spec import Action, Input, Provenance, Robot, opaque_term, packed

PERIOD_NS = 20_000_000
LAYOUT = Layout(
    state=(Channel("observation[0]", "1"), Channel("observation[1]", "1")),  # position in m, velocity in m/s
    command=(Channel("force", "N"),),
)
SECONDS = 3.0


def serve(pipe) -> None:
    """Be the robot: a cart of 1 kg that starts 0.5 m off."""
    robot = UdpRobotSide(("127.0.0.1", 0), LAYOUT, PERIOD_NS, lockstep_possible=False)
    pipe.send(robot.address)
    robot.claim(time.monotonic_ns() + 10_000_000_000)
    position, velocity, moved_ns = 0.5, 0.0, 0
    at_ns = time.monotonic_ns()
    while robot.owner is not None and moved_ns < SECONDS * 1e9:
        robot.publish(np.array([position, velocity], np.float32), StateFlag(0), at_ns)
        force, stamp_ns, valid_for_ns = 0.0, 0, 0
        while arrival := robot.receive(at_ns + PERIOD_NS):
            command = arrival.command
            force, stamp_ns, valid_for_ns = float(command.values[0]), command.state_stamp_ns, command.valid_for_ns
            moved_ns += PERIOD_NS * (command.mode == 2)  # only while the policy is in charge
        if at_ns + PERIOD_NS - stamp_ns > valid_for_ns:
            force = 0.0  # the command has lapsed: this robot lets go
        velocity += force * PERIOD_NS * 1e-9
        position += velocity * PERIOD_NS * 1e-9
        at_ns += PERIOD_NS
    while robot.owner is not None:  # say that it is done, until the controller says goodbye
        robot.publish(np.array([position, velocity], np.float32), StateFlag.DONE, time.monotonic_ns())
        robot.receive(time.monotonic_ns() + PERIOD_NS)
    pipe.send((position, velocity))
    robot.close()


def spring_and_damper() -> edgerl.Policy:
    """Return force = -20 x - 9 v, in [-10, 10] N."""
    low, high = (-10.0,), (10.0,)
    spec = edgerl.PolicySpec(
        schema=1,
        inputs=packed([Input("observation", (2,), "float32", 0, (opaque_term("cart", 2),))]),
        action=Action(
            "continuous",
            ("force",),
            "N",
            "opaque",
            low,
            high,
            clipped_in_graph=True,
            raw=False,
            offset=None,
            scale=None,
        ),
        robot=Robot((), None, None, None, "none", None, 1),
        period_ns=PERIOD_NS,
        state=(),
        provenance=Provenance("by hand", None, None, {}, {}, None, ()),
        sources={"inputs": "user", "action": "user", "period_ns": "user"},
    )
    dense = Dense(np.array([[-20.0, -9.0]], np.float32), np.zeros(1, np.float32))
    return edgerl.Policy(spec, Network({"observation": ()}, (dense,), ActionMap("continuous", low, high, clip=True)))


def main() -> None:
    here, there = multiprocessing.Pipe()
    robot = multiprocessing.Process(target=serve, args=(there,))
    robot.start()
    host, port = here.recv()
    with tempfile.TemporaryDirectory() as folder:
        model, bundle = Path(folder) / "cart.onnx", Path(folder) / "cart.edgerl"
        edgerl.save_export(edgerl.export_policy(spring_and_damper()), model)
        edgerl.pack_files(model, bundle, target=edgerl.host_target())
        options = edgerl.RunOptions(arm=True)  # a real robot waits for edgerl arm instead
        result = edgerl.run_file(bundle, f"udp:{host}:{port}", recording=Path(folder) / "cart.mcap", options=options)
    position, _velocity = here.recv()
    robot.join()
    print(f"ended {result.ended} after {result.ticks} ticks; the cart stands at {abs(position):.3f} m from the middle")


if __name__ == "__main__":
    main()
