"""Real loads for the control loop: small ONNX graphs with a golden set, so that its tests need no trainer."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgerl.backends import Engine, Runner
from edgerl.backends.onnxruntime import FILE_NAME, OnnxRuntimeRunner
from edgerl.bundle.load import save_bundle
from edgerl.bundle.pack import pack
from edgerl.envelope import Degrade, Envelope, Ladder, default_envelope
from edgerl.errors import PlatformError
from edgerl.export import export_policy
from edgerl.golden import GoldenSet, save_golden_bytes
from edgerl.hil.port import UdpRobotSide
from edgerl.policy import ActionMap, Dense, Network, Policy
from edgerl.runtime import core, wire
from edgerl.runtime.enums import Mode
from edgerl.runtime.layout import layout_of
from edgerl.runtime.load import Load
from edgerl.runtime.port_key import PortKey
from edgerl.runtime.supervisor import Timeouts
from edgerl.runtime.wire import StateFlag
from edgerl.spec import Action, Input, PolicySpec, Provenance, Robot, StateTensor, opaque_term
from edgerl.target import host_target, load_target
from tests.core_build import compile_core

MS = 1_000_000


def spec_of(
    period_ns: int, low: float = -2.0, high: float = 2.0, *, size: int = 3, actions: int = 1, state: bool = False
) -> PolicySpec:
    """Return the spec of a continuous policy over one flat observation."""
    box = (low,) * actions, (high,) * actions
    return PolicySpec(
        schema=1,
        inputs=(Input("observation", (size,), "float32", 0, (opaque_term("observation", size),)),),
        action=Action("continuous", None, None, "opaque", *box, True, False, None, None),
        robot=Robot((), None, None, None, "none", None, 1),
        period_ns=period_ns,
        state=(StateTensor("state.count.h", (1, 1, 1), (0.0,)),) if state else (),
        provenance=Provenance("edgerl tests", None, None, {}, {}, None, ()),
        sources={},
    )


def discrete_spec(period_ns: int, choices: int, size: int) -> PolicySpec:
    """Return the spec of a discrete policy over one flat observation."""
    spec = spec_of(period_ns, size=size)
    return replace(
        spec, action=Action("discrete", None, None, "opaque", (0.0,), (choices - 1.0,), True, False, None, None)
    )


def graph(spec: PolicySpec, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> bytes:
    """Return an ONNX file with the spec's inputs and outputs around these nodes."""
    kind = TensorProto.FLOAT if spec.action.kind == "continuous" else TensorProto.INT32
    inputs = [helper.make_tensor_value_info(i.name, TensorProto.FLOAT, (1, *i.shape)) for i in spec.inputs]
    outputs = [helper.make_tensor_value_info("action", kind, (1, spec.action.size))]
    for item in spec.state:
        inputs.append(helper.make_tensor_value_info(item.name, TensorProto.FLOAT, item.shape))
        outputs.append(helper.make_tensor_value_info(f"{item.name}.next", TensorProto.FLOAT, item.shape))
    values = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "policy", inputs, outputs, values)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def linear(spec: PolicySpec, weight: np.ndarray, bias: float = 0.0) -> bytes:
    """Return action = clip(observation @ weight + bias)."""
    nodes = [
        helper.make_node("MatMul", ["observation", "w"], ["wx"]),
        helper.make_node("Add", ["wx", "b"], ["y"]),
        helper.make_node("Clip", ["y", "low", "high"], ["action"]),
    ]
    shape = (spec.inputs[0].size, spec.action.size)
    limits = {"low": np.float32(spec.action.low[0]), "high": np.float32(spec.action.high[0])}
    constants = {"w": weight.astype(np.float32).reshape(shape), "b": np.full(shape[1], bias, np.float32), **limits}
    return graph(spec, nodes, {name: np.asarray(value) for name, value in constants.items()})


def square_root(spec: PolicySpec) -> bytes:
    """Return action = sqrt(first element of the observation): NaN where that is negative."""
    nodes = [
        helper.make_node("MatMul", ["observation", "w"], ["x"]),
        helper.make_node("Sqrt", ["x"], ["action"]),
    ]
    return graph(spec, nodes, {"w": np.eye(spec.inputs[0].size, spec.action.size, dtype=np.float32)})


def counter(spec: PolicySpec) -> bytes:
    """Return action = 0.001 x the number of inferences since the last reset, counted in a recurrent state."""
    nodes = [
        helper.make_node("Add", ["state.count.h", "one"], ["state.count.h.next"]),
        helper.make_node("Mul", ["state.count.h.next", "small"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "flat"], ["counted"]),
        helper.make_node("Mul", ["observation", "zero"], ["nothing"]),
        helper.make_node("ReduceSum", ["nothing", "axis"], ["sum"]),
        helper.make_node("Add", ["counted", "sum"], ["action"]),
    ]
    constants = {
        "one": np.ones(1, np.float32),
        "small": np.full(1, 0.001, np.float32),
        "zero": np.zeros(1, np.float32),
        "flat": np.array([1, 1], np.int64),
        "axis": np.array([1], np.int64),
    }
    return graph(spec, nodes, constants)


def first_sign(spec: PolicySpec, weight: np.ndarray) -> bytes:
    """Return action = 1 where observation @ weight is positive, else 0, as int32."""
    nodes = [
        helper.make_node("MatMul", ["observation", "w"], ["y"]),
        helper.make_node("Greater", ["y", "zero"], ["above"]),
        helper.make_node("Cast", ["above"], ["action"], to=TensorProto.INT32),
    ]
    constants = {"w": weight.astype(np.float32).reshape(-1, 1), "zero": np.zeros(1, np.float32)}
    return graph(spec, nodes, constants)


def golden_of(spec: PolicySpec, runner: Runner, model: bytes, rows: int = 8) -> GoldenSet:
    """Return a golden set of positive observations with what the runner itself answers."""
    values = np.random.default_rng(0).uniform(0.1, 0.9, (rows, spec.inputs[0].size)).astype(np.float32)
    answers = []
    after: dict[str, list[np.ndarray]] = {name: [] for name in runner.state}
    runner.reset()
    for row in values:
        runner.inputs["observation"][0] = row
        runner.infer()
        answers.append(runner.outputs["action"][0].copy())
        for name, array in runner.state.items():
            after[name].append(array.copy())
    starts = np.zeros(rows, np.bool_)
    starts[0] = True
    expected = np.array(answers)
    return GoldenSet(
        model=hashlib.sha256(model).hexdigest(),
        inputs={"observation": values},
        episode_start=starts,
        expected_float32=expected,
        tolerance=np.full(spec.action.size, 1e-5),
        decided=np.ones(expected.shape, np.bool_),
        expected_trainer=None,
        trainer_rows=np.zeros(rows, np.bool_),
        state={name: np.array(arrays) for name, arrays in after.items()},
    )


def load_of(spec: PolicySpec, model: bytes, backend: str = "onnxruntime", **envelope: object) -> Load:
    """Return a load that the loop can run, with the default envelope changed by ``envelope``."""
    golden = golden_of(spec, OnnxRuntimeRunner(model, spec), model)
    parent = hashlib.sha256(model).hexdigest()
    engine = Engine(backend, "linux-x86_64", "float32", parent, spec, {FILE_NAME: model})
    return Load(engine, save_golden_bytes(golden), quick_envelope(spec, **envelope), "ab" * 32)


def quick_envelope(spec: PolicySpec, **changes: object) -> Envelope:
    """Return an envelope whose ladder is over in a fraction of a second, and which allows lockstep."""
    period_ns = spec.period_ns or 0
    quick = {
        "allow_lockstep": True,
        "ladder": Ladder(hold_ns=2 * period_ns, safe_ns=4 * period_ns, hold_reason="a simulation"),
        "degrade": Degrade(misses=3, of_ticks=20),
    }
    return replace(default_envelope(spec), **{**quick, **changes})  # type: ignore[arg-type]


def save_packed(spec: PolicySpec, path: Path, *, bias: float, **envelope: object) -> Path:
    """Write a bundle of a policy that always says ``bias``, with :func:`quick_envelope`, and return its path."""
    size, action = spec.inputs[0].size, spec.action
    dense = Dense(np.zeros((action.size, size), np.float32), np.full(action.size, bias, np.float32))
    head = ActionMap("continuous", action.low, action.high, clip=True)
    export = export_policy(Policy(spec, Network({"observation": ()}, (dense,), head)))
    target = load_target(host_target())
    envelope_ = quick_envelope(spec, **envelope)
    save_bundle(pack(export.model, target=target, envelope=envelope_, golden=export.golden), path)
    return path


def core_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the installed core; from a source tree that was never installed, of one compiled now."""
    try:
        return core.core_dir()
    except PlatformError:
        return compile_core(tmp_path_factory.mktemp("core"), "-O1")


def impatient() -> Timeouts:
    """Return time-outs for a test that waits for one."""
    return Timeouts(arm_s=0.5)


_MARKS = {
    "guardian": "edgerl-guardian",
    "policy": "policy_process",
    "plant": "hil.plant",
    "driver": "driver_process",
}


def children() -> dict[str, int]:
    """Return the living child processes of this one by what they are: guardian, policy, plant, driver."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if int(stat[1]) != os.getpid() or stat[0] == "Z":
            continue
        for name, mark in _MARKS.items():
            if mark in command:
                found[name] = int(folder.name)
    return found


class ScriptedRobot:
    """A robot on a real socket whose states a test writes: lockstep, one state for each answer.

    Args:
        load: Names the channels and the period.
        script: Gets the number of the step and gives state, flags and further datagrams to send, or None at the end.
    """

    def __init__(
        self,
        load: Load,
        script: Callable[[int], tuple[np.ndarray, StateFlag, list[bytes]] | None],
        key: PortKey | None = None,
    ) -> None:
        spec, layout = load.engine.spec, layout_of(load.engine.spec, load.envelope)
        self.port = UdpRobotSide(("127.0.0.1", 0), layout, spec.period_ns, lockstep_possible=True, key=key)
        self.name = f"udp:127.0.0.1:{self.port.address[1]}"
        self.commands: list[wire.Command] = []
        self._script = script
        self._period_ns = spec.period_ns or 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live)

    def __enter__(self) -> ScriptedRobot:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10.0)
        self.port.close()

    @property
    def driven(self) -> list[wire.Command]:
        """The commands of mode ACTIVE."""
        return [command for command in self.commands if command.mode == Mode.ACTIVE]

    def _live(self) -> None:
        owner = self.port.claim(time.monotonic_ns() + 10_000_000_000)
        self.keys = owner.side.keys if owner else None
        step, stamp_ns = 0, self._period_ns
        while self.port.owner is not None and not self._over.is_set():
            scripted = self._script(step)
            values, flags, others = scripted or (np.zeros(3, np.float32), StateFlag.DONE, [])
            for datagram in others:
                self.port._socket.sendto(datagram, self.port.owner.address)
            stamp_ns += self._period_ns
            sequence = self.port.publish(values.astype(np.float32), flags | StateFlag.LOCKSTEP, stamp_ns)
            arrival = self.port.receive(time.monotonic_ns() + 100_000_000)
            if arrival is not None:
                self.commands.append(arrival.command)
                if arrival.command.mode == Mode.ACTIVE and arrival.command.state_sequence == sequence:
                    step += 1
                else:
                    time.sleep(0.002)  # the policy is still loading
