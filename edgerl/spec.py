"""PolicySpec: what a policy observes, what it answers, and what the robot must know to carry it out.

Made once by the importer, completed by the user where a file cannot say it, checked when made, and carried bit for
bit to the robot: in the ONNX metadata under :data:`METADATA_KEY` and in the bundle's manifest. No later stage derives
any of it again.

``None`` means *nobody said*: what the graph needs is never ``None`` (the importer refuses), what the robot needs may
be, until :func:`PolicySpec.unknowns` is empty and ``edgerl pack`` accepts it. No torch, no onnx, no numpy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from edgerl import canonical
from edgerl.errors import SchemaTooNew, SpecError
from edgerl.spec_check import ALIGNMENT, problems

SCHEMA = 1
"""Version of this form. Older ones are read, newer ones refused."""
METADATA_KEY = "edgerl.spec"
"""Key of the canonical JSON in an ONNX model's metadata."""

Source = Literal["checkpoint", "config", "default", "user"]
"""Where a value came from: the checkpoint, the run's configuration, the trainer version's default, or the user."""
Dtype = Literal["float32", "uint8", "int32"]
TermSource = Literal[
    "opaque",
    "joint_position",
    "joint_velocity",
    "imu.gyro",
    "imu.gravity",
    "operator",
    "last_action_raw",
    "phase",
    "external",
]
ActionKind = Literal["continuous", "discrete", "multi_discrete", "multi_binary"]
Meaning = Literal["position", "velocity", "torque", "opaque"]

ITEM_BYTES: Mapping[str, int] = {"float32": 4, "uint8": 1, "int32": 4}
_JOINT_SOURCES = ("joint_position", "joint_velocity")


@dataclass(frozen=True)
class History:
    """Stack of past values of one observation term."""

    length: int
    """Number of ticks in the stack, the present one included."""
    order: Literal["oldest_first"]
    layout: Literal["term_major", "step_major"]
    """``term_major``: all ticks of a term, then the next term. ``step_major``: all terms of a tick, then the next."""
    reset: Literal["repeat", "zeros"]
    """What fills the stack at an episode's start: the first value repeated, or zeros."""


@dataclass(frozen=True)
class Term:
    """One observation term: a slice of an input and where its values come from.

    The assembler computes ``clip((value - offset) * scale)`` per element and then stacks the history.
    """

    name: str
    start: int
    """First element in the flattened input."""
    stop: int
    """One past the last element."""
    source: TermSource
    """``opaque``: the robot's side already sends the environment's own observation."""
    unit: str | None
    frame: str | None
    joints: tuple[str, ...]
    """Joints by name, in the order of the elements; empty where the source has none."""
    offset: tuple[float, ...] | None
    """In the source's unit, one per element of a single tick; ``None``: zero."""
    scale: tuple[float, ...] | None
    """One per element of a single tick; ``None``: one."""
    clip: tuple[float, float] | None
    history: History | None

    @property
    def size(self) -> int:
        """Elements of this term in the input, all ticks of its history together."""
        return self.stop - self.start


@dataclass(frozen=True)
class Input:
    """One input tensor of the policy, without the batch axis."""

    name: str
    """``observation`` or ``observation.<key>``; the graph's input has the same name."""
    shape: tuple[int, ...]
    dtype: Dtype
    offset: int
    """Bytes from the start of the packed observation record, a multiple of 64."""
    terms: tuple[Term, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor in the packed record."""
        return self.size * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Action:
    """What the policy answers, in the order of the graph's ``action`` output."""

    kind: ActionKind
    names: tuple[str, ...] | None
    """One name per channel: joints where the meaning is theirs, free names otherwise."""
    unit: str | None
    meaning: Meaning
    low: tuple[float, ...]
    """The trainer's action box, one per channel; 0 for the discrete kinds."""
    high: tuple[float, ...]
    """For the discrete kinds the number of choices minus one."""
    clipped_in_graph: bool
    """Whether the graph itself keeps the action inside ``low`` and ``high``."""
    raw: bool
    """Whether the graph also answers ``action.raw``, the network's own units."""
    offset: tuple[float, ...] | None
    """Command = raw action x scale + offset, in the unit above; ``None``: the action is the command."""
    scale: tuple[float, ...] | None

    @property
    def size(self) -> int:
        """Number of channels."""
        return len(self.low)


@dataclass(frozen=True)
class Robot:
    """What the robot's side must agree with."""

    joints: tuple[str, ...]
    """Joint names in policy order; empty where the policy's environment has none that it names."""
    default_pose: tuple[float, ...] | None
    """Positions in [rad] or [m], in the order of ``joints``."""
    kp: tuple[float, ...] | None
    """Position gains of the inner law in [Nm/rad] or [N/m]."""
    kd: tuple[float, ...] | None
    """Damping gains of the inner law in [Nms/rad] or [Ns/m]."""
    pd: Literal["drive", "guardian", "none"]
    """Who runs the inner law."""
    quaternion_order: Literal["wxyz", "xyzw"] | None
    policy_divider: int
    """The policy acts on every n-th base tick."""


@dataclass(frozen=True)
class StateTensor:
    """Recurrent state that travels from one inference to the next."""

    name: str
    """``state.<block>.<h|c>``; the graph answers ``<name>.next``."""
    shape: tuple[int, ...]
    """(layers, 1, hidden)."""
    initial: tuple[float, ...]
    """Value at an episode's start, flattened in C order."""


@dataclass(frozen=True)
class Provenance:
    """Where the policy came from."""

    trainer: str
    trainer_version: str | None
    algorithm: str | None
    digests: Mapping[str, str]
    """SHA-256 of each file that was read, by file name."""
    configuration: Mapping[str, str]
    """What the training run's own files say, as text, for people."""
    seed: int | None
    foreign_globals: tuple[str, ...]
    """``module.name`` of everything that the file asked to import; none of it was."""


@dataclass(frozen=True)
class Unknown:
    """A fact that the robot needs and nobody has given."""

    field: str
    """Dotted name in the spec."""
    why: str
    example: str
    """A TOML line that would give it, with a made-up value."""


@dataclass(frozen=True)
class PolicySpec:
    """The contract between a policy and the robot. Checked when made.

    Raises:
        SpecError: The parts contradict each other; the message names the field.
    """

    schema: int
    inputs: tuple[Input, ...]
    action: Action
    robot: Robot
    period_ns: int | None
    """Control period of the base tick in [ns]."""
    state: tuple[StateTensor, ...]
    provenance: Provenance
    sources: Mapping[str, Source]
    """Where each value came from, by dotted field name; a name covers the fields below it."""

    def __post_init__(self) -> None:
        if self.schema > SCHEMA:
            raise SchemaTooNew("The spec", self.schema, SCHEMA)
        for problem in problems(self):
            raise SpecError(f"The spec is not valid: {problem}.")

    @property
    def record_size(self) -> int:
        """Bytes of one packed observation record, a multiple of 64."""
        return max((aligned(item.offset + item.nbytes) for item in self.inputs), default=0)

    def input(self, name: str) -> Input:
        """Return the input with this name.

        Raises:
            SpecError: There is none.
        """
        for item in self.inputs:
            if item.name == name:
                return item
        raise SpecError(f"No input is called {name!r}. Inputs: {', '.join(item.name for item in self.inputs)}.")

    def unknowns(self) -> tuple[Unknown, ...]:
        """Return what the robot needs and nobody has said; empty when the spec can be packed."""
        return tuple(_unknowns(self))


def packed(inputs: Iterable[Input]) -> tuple[Input, ...]:
    """Return the inputs with their offsets in the packed record set, in the given order."""
    result: list[Input] = []
    offset = 0
    for item in inputs:
        result.append(Input(item.name, item.shape, item.dtype, offset, item.terms))
        offset = aligned(offset + item.nbytes)
    return tuple(result)


def opaque_term(name: str, size: int, *, unit: str | None = None) -> Term:
    """Return the term of an input that the robot's side sends as the environment made it."""
    return Term(name, 0, size, "opaque", unit, None, (), None, None, None, None)


def load_spec(text: str | bytes, what: str) -> PolicySpec:
    """Return the spec in a canonical JSON text.

    Args:
        text: As :func:`save_spec` returned it.
        what: Names the document in errors.

    Raises:
        SchemaTooNew: Written by a newer edgerl.
        SpecError: Not valid.
    """
    plain = canonical.parse(text, what)
    schema = plain.get("schema") if isinstance(plain, dict) else None
    if isinstance(schema, int) and not isinstance(schema, bool) and schema > SCHEMA:
        raise SchemaTooNew(what, schema, SCHEMA)
    if isinstance(schema, int) and schema < 1:
        raise SpecError(f"{what}: schema {schema} does not exist. Valid: 1 to {SCHEMA}.")
    return canonical.from_plain(PolicySpec, plain, what)


def save_spec(spec: PolicySpec) -> str:
    """Return the canonical JSON of a spec: the same spec gives the same bytes, and every number reads back exactly."""
    return canonical.dumps(spec)


def aligned(size: int) -> int:
    """Return a number of bytes, rounded up to whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _unknowns(spec: PolicySpec) -> Iterator[Unknown]:
    if spec.period_ns is None:
        yield Unknown("period_s", "the control loop needs its period; trainers do not store it", "period_s = 0.02")
    if spec.action.meaning != "opaque":
        if spec.action.names is None:
            yield Unknown("action.names", "commands go to joints by name", 'action.names = ["hip", "knee"]')
        if spec.action.unit is None:
            yield Unknown("action.unit", "a command without a unit can be off by 57", 'action.unit = "rad"')
    for item in spec.inputs:
        for term in item.terms:
            key = f"{item.name}.{term.name}"
            if term.source in _JOINT_SOURCES and not term.joints:
                yield Unknown(f'terms."{key}".joints', "joints are matched by name", 'joints = ["hip", "knee"]')
            if term.source != "opaque" and term.unit is None:
                yield Unknown(f'terms."{key}".unit', "a measured value needs its unit", 'unit = "rad"')
