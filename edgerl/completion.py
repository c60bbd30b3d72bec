"""Reads what a checkpoint does not say from the file that :mod:`edgerl.template` writes and a person fills in.

The file is TOML with the spec's own words. What nobody said is filled in; what the checkpoint itself said is changed
only where ``override`` names it. Every value that comes from the file has the source ``user`` in the spec.

Keys: ``period_s`` or ``rate_hz``; ``override``; ``[action]`` kind, low, high, names, unit, meaning, offset, scale;
``[robot]`` joints, default_pose, kp, kd, pd, quaternion_order, policy_divider; ``[terms."<input>.<term>"]`` slice,
source, unit, frame, joints, offset, scale, clip, history. Terms with a slice replace the one opaque term of an input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from edgerl.errors import SpecError
from edgerl.spec import (
    Action,
    ActionKind,
    History,
    Input,
    Meaning,
    PolicySpec,
    Robot,
    Source,
    Term,
    TermSource,
)
from edgerl.toml import Table, read_toml

TOP_KEYS = ("period_s", "rate_hz", "override", "action", "robot", "terms", "graph")
ACTION_KEYS = ("kind", "low", "high", "names", "unit", "meaning", "offset", "scale")
ROBOT_KEYS = ("joints", "default_pose", "kp", "kd", "pd", "quaternion_order", "policy_divider")
TERM_KEYS = ("slice", "source", "unit", "frame", "joints", "offset", "scale", "clip", "history")
HISTORY_KEYS = ("length", "layout", "reset")
GRAPH_KEYS = ("action",)
PERIODS_NS = (1_000, 3_600_000_000_000)
"""Shortest and longest control period in [ns] that is no slip of the pen: 1 us to an hour."""

_UNSAID: Final = (None, (), "opaque", "none")
"""Values of a spec that mean: nobody said."""

Part = TypeVar("Part", Action, Robot, Term)


@dataclass(frozen=True)
class GraphFacts:
    """What a graph that somebody else made does not say about itself."""

    action_output: str | None
    """Name of the output that is the action, or the logits that it is chosen from."""
    kind: ActionKind | None
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None


def complete(spec: PolicySpec, path: Path | str) -> PolicySpec:
    """Return the spec with what a TOML file adds.

    Args:
        spec: As the importer made it.
        path: The file, as :func:`edgerl.template.template` writes it.

    Raises:
        SpecError: The file is not valid, has an unknown key, or contradicts the checkpoint without ``override``.
    """
    table = read_toml(Path(path), TOP_KEYS, SpecError)
    return _Completion(spec, table).run()


def read_graph_facts(path: Path | str | None) -> GraphFacts:
    """Return what the same file says about a graph that somebody else made.

    Raises:
        SpecError: The file is not valid.
    """
    if path is None:
        return GraphFacts(None, None, None, None)
    table = read_toml(Path(path), TOP_KEYS, SpecError)
    graph = table.table("graph", GRAPH_KEYS) if "graph" in table else None
    action = table.table("action", ACTION_KEYS) if "action" in table else None
    return GraphFacts(
        graph.text("action") if graph and "action" in graph else None,
        action.choice("kind", get_args(ActionKind)) if action and "kind" in action else None,
        _bounds(action, "low"),
        _bounds(action, "high"),
    )


class _Completion:
    def __init__(self, spec: PolicySpec, table: Table) -> None:
        self.spec, self.table = spec, table
        self.override = set(table.texts("override")) if "override" in table else set()
        self.sources: dict[str, Source] = dict(spec.sources)
        self.used: set[str] = set()

    def run(self) -> PolicySpec:
        if "graph" in self.table:
            self.table.table("graph", GRAPH_KEYS)
        self.check_inputs()
        robot = self.robot()
        inputs = tuple(self.terms(item) for item in self.spec.inputs) if "terms" in self.table else self.spec.inputs
        action = self.action()
        period = self.period()
        idle = sorted(self.override - self.used)
        if idle:
            raise SpecError(f"{self.table.where}: override names '{idle[0]}', which the file does not change.")
        try:
            return replace(self.spec, robot=robot, inputs=inputs, action=action, period_ns=period, sources=self.sources)
        except SpecError as error:
            raise SpecError(f"{self.table.where}: {error}") from error

    def set(self, field: str, present: object, given: object) -> bool:
        """Tell whether a value is new, and note that it is the user's.

        Raises:
            SpecError: The checkpoint said something else and ``override`` does not name the field.
        """
        if given == present:
            if field in self.override:
                self.used.add(field)
            return False
        said = present not in _UNSAID and _source_of(self.spec.sources, field) in ("checkpoint", "config")
        if field in self.override:
            self.used.add(field)
        elif said:
            raise SpecError(
                f"{self.table.where}: {field} is {given!r}, but the checkpoint says {present!r}. "
                f'Take the line out, or write override = ["{field}"] to mean it.'
            )
        self.sources[field] = "user"
        return True

    def period(self) -> int | None:
        given = [key for key in ("period_s", "rate_hz") if key in self.table]
        if len(given) == 2:
            raise SpecError(f"{self.table.where}: both period_s and rate_hz are given. Give one of them.")
        if not given:
            return self.spec.period_ns
        value = self.table.number(given[0])
        seconds = value if given[0] == "period_s" else 1.0 / value if value > 0 else 0.0
        period_ns = round(seconds * 1e9) if 0 < seconds < 1e9 else 0
        if not PERIODS_NS[0] <= period_ns <= PERIODS_NS[1]:
            raise SpecError(
                f"{self.table.where}: {given[0]} is {value!r}. Valid is a period of 1 us to 1 h, such as "
                "period_s = 0.02 or rate_hz = 50."
            )
        # A third of a second has no whole number of nanoseconds; the nearest is what a clock can keep.
        return period_ns if self.set("period_ns", self.spec.period_ns, period_ns) else self.spec.period_ns

    def action(self) -> Action:
        if "action" not in self.table:
            return self.spec.action
        table = self.table.table("action", ACTION_KEYS)
        given: dict[str, Any] = {}
        for key in ("names", "offset", "scale"):
            if key in table:
                given[key] = table.texts(key) if key == "names" else table.numbers(key)
        if "unit" in table:
            given["unit"] = table.text("unit")
        if "meaning" in table:
            given["meaning"] = table.choice("meaning", get_args(Meaning))
        self.check_computed(table)
        return self.changed("action", self.spec.action, given)

    def check_computed(self, table: Table) -> None:
        """Refuse another kind or range than the one that the graph computes with."""
        given: dict[str, object] = {key: _bounds(table, key) for key in ("low", "high") if key in table}
        if "kind" in table:
            given["kind"] = table.choice("kind", get_args(ActionKind))
        for key, value in given.items():
            present = getattr(self.spec.action, key)
            if value != present:
                raise SpecError(
                    f"{table.where}: {key} is {value!r}, but the policy computes with {present!r}. Take the line out; "
                    "limits of the robot belong into the envelope."
                )

    def robot(self) -> Robot:
        if "robot" not in self.table:
            return self.spec.robot
        table = self.table.table("robot", ROBOT_KEYS)
        given: dict[str, Any] = {}
        for key in ("default_pose", "kp", "kd"):
            if key in table:
                given[key] = table.numbers(key)
        if "joints" in table:
            given["joints"] = table.texts("joints")
        for key, valid in (("pd", ("drive", "guardian", "none")), ("quaternion_order", ("wxyz", "xyzw"))):
            if key in table:
                given[key] = table.choice(key, valid)
        if "policy_divider" in table:
            given["policy_divider"] = table.integer("policy_divider")
        return self.changed("robot", self.spec.robot, given)

    def changed(self, where: str, part: Part, given: Mapping[str, Any]) -> Part:
        changes = {key: value for key, value in given.items() if self.set(f"{where}.{key}", getattr(part, key), value)}
        return replace(part, **changes) if changes else part

    def terms(self, item: Input) -> Input:
        keys = [key for key in self.table.keys("terms") if key.rpartition(".")[0] == item.name]
        if not keys:
            return item
        tables = {key.rpartition(".")[2]: self.term_table(key) for key in keys}
        if any("slice" in table for table in tables.values()):
            return replace(item, terms=tuple(self.split(item, tables)))
        known = {term.name for term in item.terms}
        unknown = sorted(set(tables) - known)
        if unknown:
            raise SpecError(
                f"{self.table.where}: '{item.name}' has no term '{unknown[0]}'. Its terms: {', '.join(sorted(known))}. "
                "To split the input into terms of your own, give each one slice = [first, end]."
            )
        terms = []
        for term in item.terms:
            given = _term_values(tables[term.name]) if term.name in tables else {}
            terms.append(self.changed(f"inputs.{item.name}.{term.name}", term, given))
        return replace(item, terms=tuple(terms))

    def check_inputs(self) -> None:
        names = {item.name for item in self.spec.inputs}
        for key in self.table.keys("terms"):
            if key.rpartition(".")[0] not in names:
                raise SpecError(
                    f'{self.table.where}: [terms."{key}"] belongs to no input. Write [terms."INPUT.TERM"] with one of '
                    f"the inputs {', '.join(sorted(names))}."
                )

    def term_table(self, key: str) -> Table:
        return self.table.table("terms", self.table.keys("terms")).table(key, TERM_KEYS)

    def split(self, item: Input, tables: Mapping[str, Table]) -> Iterator[Term]:
        """Yield the user's own terms of an input that was one opaque term, in the order of their slices."""
        field = f"inputs.{item.name}.terms"
        opaque = len(item.terms) == 1 and item.terms[0].source == "opaque"
        if not opaque and field not in self.override:
            raise SpecError(
                f"{self.table.where}: '{item.name}' has terms already: {', '.join(t.name for t in item.terms)}. "
                f'Take the slices out, or write override = ["{field}"] to replace them all.'
            )
        if field in self.override:
            self.used.add(field)
        self.sources[field] = "user"
        slices = {}
        for name, table in tables.items():
            if "slice" not in table:
                raise SpecError(f"{table.where}: slice is missing. Where one term of an input has it, all need it.")
            numbers = table.numbers("slice")
            if len(numbers) != 2 or any(number != int(number) for number in numbers):
                raise SpecError(
                    f"{table.where}: slice is {list(numbers)}. Expected [first element, one past the last]."
                )
            slices[name] = (int(numbers[0]), int(numbers[1]))
        for name in sorted(tables, key=lambda name: slices[name]):
            start, stop = slices[name]
            term = Term(name, start, stop, "opaque", None, None, (), None, None, None, None)
            yield replace(term, **_term_values(tables[name]))


def _term_values(table: Table) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if "source" in table:
        given["source"] = table.choice("source", get_args(TermSource))
    for key in ("unit", "frame"):
        if key in table:
            given[key] = table.text(key)
    if "joints" in table:
        given["joints"] = table.texts("joints")
    for key in ("offset", "scale", "clip"):
        if key in table:
            given[key] = table.numbers(key)
    if "clip" in given and len(given["clip"]) != 2:
        raise SpecError(f"{table.where}: clip is {list(given['clip'])}. Expected [low, high].")
    if "history" in table:
        history = table.table("history", HISTORY_KEYS)
        given["history"] = History(
            history.integer("length"),
            "oldest_first",
            history.choice("layout", ("term_major", "step_major")),
            history.choice("reset", ("repeat", "zeros")),
        )
    return given


def _bounds(table: Table | None, key: str) -> tuple[float, ...] | None:
    """Return numbers, of which some may be infinite: TOML writes them inf and -inf."""
    if table is None or key not in table:
        return None
    return table.numbers(key, infinite=True)


def _source_of(sources: Mapping[str, Source], field: str) -> Source | None:
    """Return the source of a field: its own, or that of the nearest name above it."""
    parts = field.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in sources:
            return sources[name]
    return None
