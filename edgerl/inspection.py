"""How ``edgerl inspect`` shows a checkpoint, model, bundle or recording to people; ``--json`` has every field.

Selects and groups, computes nothing. Channels with the same limits share a line, digests are shortened where they only
tell two files apart, and what nobody said is left out or listed as unknown.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from edgerl.artifacts import Description, ModelDescription, RecordingDescription
from edgerl.bundle.compare import BundleDescription
from edgerl.console import heading, show_pairs, show_table
from edgerl.envelope import ChannelLimits, Envelope, Ladder
from edgerl.envelope.commands import command_limits
from edgerl.envelope.ladder import CLASSES
from edgerl.envelope.state import StateLimits
from edgerl.importers import CheckpointDescription
from edgerl.presentation import loop_rows, show_claims
from edgerl.spec import Action, PolicySpec, Provenance, Term, Unknown

Value = TypeVar("Value", bound=Hashable)

SHORT_DIGEST = 16
LISTED = 8
"""Names that are listed before the rest is counted."""


def show_description(description: Description, path: str) -> None:
    """Print what is in a file."""
    if isinstance(description, CheckpointDescription):
        _show_checkpoint(description, path)
    elif isinstance(description, ModelDescription):
        _show_model(description, path)
    elif isinstance(description, BundleDescription):
        _show_bundle(description, path)
    else:
        _show_recording(description, path)


def _show_checkpoint(found: CheckpointDescription, path: str) -> None:
    heading(path, f"checkpoint of {_words(found.trainer, found.trainer_version, found.algorithm)}")
    rows = [["export", "possible" if found.refused is None else f"refused: {found.refused}"]]
    rows += [[name, text] for name, text in found.spaces.items()]
    rows += [["normalizer", found.normalizer], ["policy class", found.policy_class or "not said"]]
    rows += [["parameters", f"{found.parameters:,}"]] if found.blocks else []
    rows += [["note" if not index else "", text] for index, text in enumerate(found.notes)]
    show_pairs(rows)
    if found.blocks:
        blocks = [
            [one.where, one.kind, _shape(one.shape), f"{one.parameters:,}" if one.parameters else "", one.detail]
            for one in found.blocks
        ]
        show_table("network", ["where", "block", "output", "parameters", "detail"], blocks)
    _show_digests(found.digests)
    _show_foreign(found.foreign_globals)
    _show_unknowns(found.unknowns)


def _show_model(found: ModelDescription, path: str) -> None:
    if found.spec is None:
        heading(path, "ONNX model from elsewhere: it carries no spec; edgerl export adopts it")
    else:
        heading(path, f"model of {_trained(found.spec.provenance)}")
    rows = [["digest", found.digest]] if found.digest else []
    rows += [
        ["graph", f"opset {found.opset}, {found.parameters:,} constants"],
        ["operators", ", ".join(f"{count} {name}" for name, count in found.operators.items())],
        ["inputs", ", ".join(found.inputs)],
        ["outputs", ", ".join(found.outputs)],
    ]
    show_pairs(rows)
    if found.spec is not None:
        _show_spec(found.spec)
        _show_digests(found.spec.provenance.digests)
        _show_foreign(found.spec.provenance.foreign_globals)
    _show_unknowns(found.unknowns)


def _show_bundle(found: BundleDescription, path: str) -> None:
    heading(path, f"bundle of {_trained(found.spec.provenance)} for {found.target.name}")
    versions = found.versions
    packed = f"edgerl {versions.edgerl}, onnx {versions.onnx}, onnxruntime {versions.onnxruntime}"
    show_pairs(
        [
            ["digest", found.digest],
            ["release", str(found.release) + (f", packed {found.created}" if found.created else "")],
            ["engines", ", ".join(f"{one.backend} {one.precision}" for one in found.engines)],
            ["versions", packed],
        ]
    )
    show_claims(found.claims)
    _show_spec(found.spec)
    _show_envelope(found.envelope, found.spec)
    files = [[one.path, f"{one.size:,}", _short(one.sha256)] for one in found.files]
    show_table("files", ["path", "bytes", "SHA-256"], files)
    line = [[one.what, _short(one.sha256)] for one in found.line]
    show_table("line back to the checkpoint", ["what", "SHA-256"], line)


def _show_recording(found: RecordingDescription, path: str) -> None:
    header = found.header
    what = "recording" if header.fault is None else f"dump of a fault ({header.fault})"
    heading(path, f"{what} of {found.ticks:,} ticks on {header.robot}")
    started = datetime.datetime.fromtimestamp(header.started_unix_ns * 1e-9, datetime.timezone.utc)
    machine = header.machine
    whole = "complete" if found.complete else "cut off; what follows was computed up to there"
    lost = f", {found.lost:,} ticks are missing" if found.lost else ""
    show_pairs(
        [
            ["recording", whole + lost],
            ["started", f"{started:%Y-%m-%d %H:%M:%S} UTC"],
            ["bundle", header.bundle],
            ["machine", f"{machine.processor or machine.architecture}, {machine.cpus} CPUs, {machine.kernel}"],
            ["channels", ", ".join(f"{len(one.channels)} of {one.name}" for one in header.arrays if one.channels)],
            *loop_rows(found.misses, found.timing),
        ]
    )
    spans = [[one.mode, one.source, f"{one.first_tick:,}", f"{one.ticks:,}"] for one in found.modes]
    show_table("modes", ["mode", "command from", "from tick", "ticks"], spans)


def _show_spec(spec: PolicySpec) -> None:
    action = spec.action
    rows = [["period", "unknown" if spec.period_ns is None else f"{spec.period_ns / 1e6:g} ms"]]
    rows += [[one.name, f"{_shape(one.shape)} {one.dtype}"] for one in spec.inputs]
    rows += [[one.name, f"{_shape(one.shape)}, memory"] for one in spec.state]
    rows += [["action", _action(action)], *_channel_rows(action)]
    rows += [["joints", ", ".join(spec.robot.joints)]] if spec.robot.joints else []
    for source in ("user", "config", "default"):
        fields = sorted(name for name, origin in spec.sources.items() if origin == source)
        rows += [[f"from {source}", ", ".join(fields)]] if fields else []
    heading("contract", "")
    show_pairs(rows)
    terms = [_term_row(one.name, term) for one in spec.inputs for term in one.terms if term.source != "opaque"]
    if terms:
        show_table("observation terms", ["input", "term", "elements", "source", "unit", "history"], terms)


def _action(action: Action) -> str:
    meaning = "as the environment takes it" if action.meaning == "opaque" else action.meaning
    clipped = ", clipped in the graph" if action.clipped_in_graph else ""
    return f"{action.kind}, {action.size} channels, {meaning}{f' in {action.unit}' if action.unit else ''}{clipped}"


def _channel_rows(action: Action) -> list[list[str]]:
    names = action.names or tuple(f"action[{index}]" for index in range(action.size))
    ends = [f"{low:g} to {high:g}" for low, high in zip(action.low, action.high, strict=True)]
    return [["", f"{text}: {channels}"] for channels, text in _grouped(names, ends)]


def _term_row(name: str, term: Term) -> list[str]:
    history = f"{term.history.length} ticks" if term.history else ""
    return [name, term.name, f"{term.start} to {term.stop - 1}", term.source, term.unit or "unknown", history]


def _show_envelope(envelope: Envelope, spec: PolicySpec) -> None:
    channels = command_limits(envelope, spec)
    limits = [
        (f"{one.low:g} to {one.high:g}", _limit(one.max_rate), _limit(one.max_acceleration), one.on_violation)
        for one in channels
    ]
    rows = [[names, *texts] for names, texts in _grouped([one.name for one in channels], limits)]
    show_table("envelope", ["channels", "range", "rate", "acceleration", "beyond it"], rows)
    degrade = envelope.degrade
    origin = (
        "written in a file" if envelope.origin == "file" else "derived from the action box; nobody looked at the robot"
    )
    times = (
        f"action within {_ms(envelope.budget_ns)}, command valid for {_ms(envelope.valid_for_ns)}, "
        f"state within {_ms(envelope.state_timeout_ns)}"
    )
    show_pairs(
        [
            ["origin", origin],
            *_target_rows(channels),
            ["safe command", _numbers(envelope.safe_command)],
            ["on reject", envelope.on_reject],
            ["times", times],
            ["fault after", f"{degrade.misses} bad ticks of the last {degrade.of_ticks}"],
            *_ladder_rows(envelope.ladder),
            *_law_rows(envelope),
            *_watch_rows(envelope),
        ]
    )
    if envelope.state is not None and envelope.state.channels:
        _show_state(envelope.state.channels)


def _show_state(channels: Sequence[StateLimits]) -> None:
    said = [
        (_ends(one.low, one.high), _ends(one.start_low, one.start_high), "yes" if one.noisy else "", one.unit or "")
        for one in channels
    ]
    rows = [[names, *texts] for names, texts in _grouped([one.name for one in channels], said)]
    show_table("state", ["channels", "range", "armed within", "noisy", "not observed, in"], rows)


def _watch_rows(envelope: Envelope) -> list[list[str]]:
    state, watchdog, rows = envelope.state, envelope.watchdog, []
    if envelope.clock == "robot":
        rows.append(["clock", "the robot's: its state begins the tick"])
    if state is not None and state.max_tilt is not None:
        rows.append(["leans", f"up to {state.max_tilt:g} rad"])
    if state is not None and state.max_start_tilt is not None:
        rows.append(["armed", f"where it leans up to {state.max_start_tilt:g} rad"])
    if watchdog is not None and watchdog.frozen_ticks is not None:
        rows.append(["frozen after", f"{watchdog.frozen_ticks:,} equal states of a noisy channel"])
    if watchdog is not None and watchdog.jitter is not None:
        jitter = watchdog.jitter
        late = f"{jitter.misses} of the last {jitter.of_ticks} ticks more than {_ms(jitter.budget_ns)} late"
        rows.append(["jitter", f"a fault with {late}"])
    if watchdog is not None and watchdog.heartbeat_timeout_ns is not None:
        rows.append(["supervisor", f"a fault when silent for {_ms(watchdog.heartbeat_timeout_ns)}"])
    return rows


def _ends(low: float, high: float) -> str:
    if math.isinf(low):
        return "" if math.isinf(high) else f"up to {high:g}"
    return f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"


def _target_rows(channels: Sequence[ChannelLimits]) -> list[list[str]]:
    """Return the positions that may be asked for where the command is a torque."""
    ranges = [
        (one.name, f"{one.target_low:g} to {one.target_high:g}") for one in channels if one.target_low is not None
    ]
    grouped = _grouped([name for name, _ in ranges], [text for _, text in ranges])
    return [["" if index else "positions", f"{text}: {names}"] for index, (names, text) in enumerate(grouped)]


def _ladder_rows(ladder: Ladder) -> list[list[str]]:
    """Return what follows a fault, once for all classes that share it."""
    ways = [
        ", ".join([f"{rung.do} for {_ms(rung.for_ns)}" for rung in ladder.rungs(fault)] + ["then nothing"])
        for fault in CLASSES
    ]
    grouped = _grouped(list(CLASSES), ways)
    if len(grouped) == 1:
        return [["then", grouped[0][1]]]
    return [["" if index else "then", f"{way} ({names})"] for index, (names, way) in enumerate(grouped)]


def _law_rows(envelope: Envelope) -> list[list[str]]:
    rows = []
    if envelope.inner_law != "hold":
        rows.append(["between actions", envelope.inner_law])
    if envelope.prepare is not None and envelope.prepare.pose is not None:
        pose = _numbers(envelope.prepare.pose)
        rows.append(["before arming", f"to {pose} within {_ms(envelope.prepare.duration_ns)}"])
    if envelope.prepare is not None and envelope.prepare.blend_ns:
        rows.append(["blended in", f"within {_ms(envelope.prepare.blend_ns)}"])
    return rows


def _show_digests(digests: Mapping[str, str]) -> None:
    show_table("files", ["file", "SHA-256"], [[name, _short(digest)] for name, digest in digests.items()])


def _show_foreign(names: Iterable[str]) -> None:
    """Print by package what a file asked to import: what does not belong there is seen at once."""
    packages: dict[str, list[str]] = {}
    for name in names:
        package, _, rest = name.partition(".")
        packages.setdefault(package, []).append(rest)
    if packages:
        rows = [[package, _listed(rests)] for package, rests in packages.items()]
        show_table("asked to be imported; nothing was", ["package", "names"], rows)


def _show_unknowns(unknowns: Sequence[Unknown]) -> None:
    if unknowns:
        rows = [[one.field, one.why, one.example] for one in unknowns]
        show_table("still unknown; edgerl pack needs it (--template, --spec)", ["field", "why", "for example"], rows)


def _grouped(names: Sequence[str], values: Sequence[Value]) -> list[tuple[str, Value]]:
    """Return each value with the names that have it, in order of first appearance."""
    groups: dict[Value, list[str]] = {}
    for name, value in zip(names, values, strict=True):
        groups.setdefault(value, []).append(name)
    return [(_listed(group), value) for value, group in groups.items()]


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest:,} more" if rest > 0 else "")


def _trained(provenance: Provenance) -> str:
    return _words(provenance.algorithm, "by", provenance.trainer, provenance.trainer_version)


def _words(*parts: str | None) -> str:
    return " ".join(part for part in parts if part)


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _numbers(values: Sequence[float]) -> str:
    if len(set(values)) == 1 and len(values) > 1:
        return f"{values[0]:g} on all {len(values)} channels"
    return _listed([f"{value:g}" for value in values])


def _limit(value: float) -> str:
    return f"{value:g}/s" if math.isfinite(value) else "any"


def _ms(time_ns: int) -> str:
    return f"{time_ns / 1e6:g} ms"


def _short(digest: str) -> str:
    return digest[:SHORT_DIGEST] + "…"
