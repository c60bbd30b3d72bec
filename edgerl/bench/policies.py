"""The policies that the benchmarks run: made here, lowered, built and checked by the same functions as any other.

``mlp`` is the network of the targets, 48-256-256-12 with ReLU, with weights from a seed: what it says means nothing,
how long it takes does. ``echo`` answers every channel with channel 0 of its observation, so that whoever sees a command
knows which state it answers.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from edgerl.backends import build, find_backend
from edgerl.bench.backends import PROGRAM, WEIGHTS, Faulty, InC
from edgerl.bundle.load import Bundle
from edgerl.bundle.pack import pack
from edgerl.envelope import Degrade, Envelope, Ladder, default_envelope
from edgerl.golden import save_golden_bytes
from edgerl.golden.rows import make_golden
from edgerl.lowering import lower
from edgerl.model import PolicyModel
from edgerl.policy import ActionMap, Activation, Array, Block, Dense, Network, Policy
from edgerl.runtime.load import Load
from edgerl.spec import Action, Input, PolicySpec, Provenance, Robot, opaque_term, packed
from edgerl.target import host_target, load_target

OBSERVATIONS, HIDDEN, ACTIONS = 48, (256, 256), 12
"""A legged robot's usual policy; ``small`` of the measurements that the design rests on."""
_GOLDEN_ROWS = 32
_LIMIT = 2.0


def mlp_load(period_ns: int) -> Load:
    """Return the network of the targets, to be run by ONNX Runtime in the product's own policy process."""
    blocks: list[Block] = []
    for weight, bias in _mlp():
        blocks += [Dense(weight, bias), Activation("relu")]
    return _load(tuple(blocks[:-1]), period_ns)


def mlp_load_in_c(period_ns: int, program: Path) -> Load:
    """Return the same network, to be run by the benchmark's policy process in C.

    Args:
        period_ns: Its control period.
        program: Compiled ``fixtures/policy.c``.
    """
    load = mlp_load(period_ns)
    layers = _mlp()
    sizes = (layers[0][0].shape[1], *(weight.shape[0] for weight, _ in layers))
    parts = [np.array([len(layers), *sizes], np.uint32).tobytes()]
    for weight, bias in layers:
        parts += [np.ascontiguousarray(weight.T).tobytes(), bias.tobytes()]
    files = {PROGRAM: program.read_bytes(), WEIGHTS: b"".join(parts)}
    return replace(load, engine=replace(load.engine, backend=InC.name, files=files))


def _mlp() -> tuple[tuple[Array, Array], ...]:
    """Return weight, shape (out, in), and bias of each layer."""
    random = np.random.default_rng(0)
    sizes = (OBSERVATIONS, *HIDDEN, ACTIONS)
    return tuple(
        (
            (random.standard_normal((out, size)) / np.sqrt(size)).astype(np.float32),
            (0.1 * random.standard_normal(out)).astype(np.float32),
        )
        for size, out in pairwise(sizes)
    )


def echo_load(period_ns: int) -> Load:
    """Return a policy whose every action is channel 0 of its observation, exactly, and which goes wrong when asked to.

    It is run by ONNX Runtime in the product's own policy process; see :class:`edgerl.bench.backends.Faulty`.
    """
    load = _load(_echo(), period_ns)
    return replace(load, engine=replace(load.engine, backend=Faulty.name))


def echo_bundle(period_ns: int) -> Bundle:
    """Return the same policy as a bundle that ``edgerl run`` takes; it never goes wrong."""
    model = _model(_echo(), period_ns)
    target = load_target(host_target())
    return pack(model, target=target, envelope=bench_envelope(model.spec), golden=make_golden(model, rows=_GOLDEN_ROWS))


def _echo() -> tuple[Block, ...]:
    weight = np.zeros((ACTIONS, OBSERVATIONS), np.float32)
    weight[:, 0] = 1.0
    return (Dense(weight, None),)


def _model(blocks: tuple[Block, ...], period_ns: int) -> PolicyModel:
    spec = _spec(period_ns)
    head = ActionMap("continuous", spec.action.low, spec.action.high, clip=True)
    return lower(Policy(spec, Network({"observation": ()}, blocks, head)))


def _load(blocks: tuple[Block, ...], period_ns: int) -> Load:
    model = _model(blocks, period_ns)
    golden = make_golden(model, rows=_GOLDEN_ROWS)
    engine = build(model, load_target(host_target()), find_backend("onnxruntime"), golden)
    return Load(engine, save_golden_bytes(golden), bench_envelope(model.spec), "0" * 64)


def _spec(period_ns: int) -> PolicySpec:
    box = (-_LIMIT,) * ACTIONS, (_LIMIT,) * ACTIONS
    observation = Input("observation", (OBSERVATIONS,), "float32", 0, (opaque_term("observation", OBSERVATIONS),))
    return PolicySpec(
        schema=1,
        inputs=packed([observation]),
        action=Action(
            "continuous", None, None, "opaque", *box, clipped_in_graph=True, raw=False, offset=None, scale=None
        ),
        robot=Robot((), None, None, None, "none", None, 1),
        period_ns=period_ns,
        state=(),
        provenance=Provenance("edgerl bench", None, None, {}, {}, 0, ()),
        sources={},
    )


def bench_envelope(spec: PolicySpec) -> Envelope:
    """Return limits whose ladder is over soon: half a period for the policy, hold for two periods, safe for four."""
    period_ns = spec.period_ns or 0
    return replace(
        default_envelope(spec),
        budget_ns=period_ns // 2,
        valid_for_ns=3 * period_ns,
        safe_command=(0.0,) * spec.action.size,
        ladder=Ladder(hold_ns=2 * period_ns, safe_ns=4 * period_ns, hold_reason="nothing moves in a benchmark"),
        degrade=Degrade(misses=3, of_ticks=20),
    )


@contextlib.contextmanager
def backends_installed() -> Iterator[None]:
    """Let child processes find the backends of :mod:`edgerl.bench.backends`, by an entry point as any plug-in's."""
    with tempfile.TemporaryDirectory(prefix="edgerl-bench-") as folder:
        about = Path(folder) / "edgerl_bench_backends-0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: edgerl-bench-backends\nVersion: 0\n")
        lines = [f"{one.name} = {one.__module__}:{one.__qualname__}" for one in (Faulty, InC)]
        (about / "entry_points.txt").write_text("\n".join(["[edgerl.backends]", *lines, ""]))
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, before] if before else [folder])
        try:
            yield
        finally:
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before
