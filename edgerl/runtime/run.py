"""Runs a bundle on a robot: opens the session, starts the loop and makes the result of what it recorded.

Errors before the robot was armed are raised. Once it was armed the run always gives a
:class:`~edgerl.runtime.result.RunResult`, whose ``ended`` and ``message`` say how it went, and a recording of why.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgerl import canonical
from edgerl.bundle.load import Bundle
from edgerl.envelope import Envelope, check_envelope
from edgerl.errors import LoopError
from edgerl.operator_values import operator_values
from edgerl.runtime import core
from edgerl.runtime.confinement import unconfined
from edgerl.runtime.connect import Access, Connection, connect
from edgerl.runtime.control.listener import ControlOptions
from edgerl.runtime.control.messages import LoopStatus, OperatorStatus, OperatorValueStatus, RunStatus
from edgerl.runtime.control.server import ControlServer
from edgerl.runtime.course import Course, End, Progress
from edgerl.runtime.drive import Drive
from edgerl.runtime.drivers import DriverProcess
from edgerl.runtime.enums import Event
from edgerl.runtime.envelope_config import apply_envelope
from edgerl.runtime.exchange import check_newcomer, newcomer_in
from edgerl.runtime.frame_sources import FrameSources
from edgerl.runtime.health import Health, fresh_ns
from edgerl.runtime.interrupts import Interrupts, catch_interrupts
from edgerl.runtime.layout import Layout, layout_of
from edgerl.runtime.load import Load, check_machine, load_of
from edgerl.runtime.notify import Notifier
from edgerl.runtime.observation_config import apply_terms
from edgerl.runtime.orders import Orders
from edgerl.runtime.recording import SCHEMA, Header, policy_arrays, record_bytes, this_machine
from edgerl.runtime.recording.recorder import Keep, Kept, Recorder
from edgerl.runtime.restarts import RestartLimits
from edgerl.runtime.result import RunResult, Scheduling, counts_of
from edgerl.runtime.robots import GymRobot, PlantProcess, PlantSettings, parse_robot
from edgerl.runtime.segments import ring_capacity
from edgerl.runtime.session import Session, Terms
from edgerl.runtime.state_config import apply_state
from edgerl.runtime.state_watch import StateWatch
from edgerl.runtime.structs import Config
from edgerl.runtime.supervisor import BYE_FAULT, BYE_FINISHED, BYE_STOPPED, Supervisor, Timeouts
from edgerl.runtime.tally import Tally
from edgerl.runtime.watchdog import Watchdog
from edgerl.spec import PolicySpec

FAREWELL_S = 5.0
"""A plant gets this long to say its last lines."""
_BYE = {"done": BYE_FINISHED, "ticks": BYE_FINISHED, "stopped": BYE_STOPPED, "estop": BYE_STOPPED, "fault": BYE_FAULT}


@dataclass(frozen=True)
class RunOptions:
    """How to run; what belongs to the policy and the robot's limits is in the bundle."""

    backend: str | None = None
    """Engine to run; None: the bundle's first."""
    arm: bool | None = None
    """Put the policy in charge as soon as it is ready; None: only where the robot is a ``gym:`` one. Otherwise the run
    waits in SAFE until it is armed through its control socket."""
    stay: bool | None = None
    """After a fault wait in STOPPED to be reset, and do not end; None: where the robot is none of ``gym:`` and the run
    has a control socket."""
    control: ControlOptions | None = None
    """The run's control socket; None: it has none."""
    restarts: RestartLimits = field(default_factory=RestartLimits)
    """How often a policy that died is started again, in a run that can be armed again."""
    spare: bool = False
    """Keep a warm policy process that takes the place of one that died at once; it costs the memory of another one."""
    notify: bool = False
    """Tell systemd how the run stands, where it runs as a service of ``Type=notify``."""
    watchdog: str | None = None
    """Device of a hardware watchdog, which restarts the machine when the run hangs; None: not used."""
    ticks: int | None = None
    """Ends the run after at least so many ticks in charge; None: when the robot is done."""
    seed: int = 0
    """Of the plant's first episode."""
    episodes: int = 1
    realtime_s: float = math.inf
    """Of a plant: lockstep after this time; 0: lockstep from the start."""
    production: bool = False
    """Refuse to start without real-time scheduling, memory lock and confinement of the policy."""
    confine: bool = True
    """Once it is ready, a policy process can write nothing but its action mailbox, open nothing and reach no other
    process; False: for a backend that needs more."""
    guardian_priority: int = 80
    """SCHED_FIFO, each tried; 0: ordinary scheduling."""
    policy_priority: int = 70
    plant_priority: int = 75
    """Of a plant or driver process, between the two: a real robot has a processor of its own, this one has to share."""
    robot_key: Path | None = None
    """File with the key of a robot on UDP."""
    frames: Mapping[str, str] = field(default_factory=dict)
    """Where the policy's images come from: by input, the socket of the process that gives them
    (:class:`edgerl.runtime.frames.FrameWriter`). A ``gym:`` robot gives those that are not named here."""
    cpu: int = -1
    """CPU of the guardian; -1: any."""
    lock_memory: bool = True
    lead_ns: int | None = None
    """The guardian's grid stands this long after the first state came; None: 1 ms, at most a 20th of the period."""
    spin_ns: int = 50_000
    """The last part of each sleep that is spun."""
    heartbeat_timeout_ns: int = 2_000_000_000
    """The guardian goes down its ladder when its supervisor is silent for this long; the bundle's own time, where its
    envelope gives one, goes before it."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    keep: Keep = field(default_factory=Keep)
    """What is written of the ticks."""


def run(
    bundle: Bundle,
    robot: str,
    recording: Path,
    options: RunOptions | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    shadow: Bundle | None = None,
) -> RunResult:
    """Run a verified bundle on a robot until the robot is done, a person stops it, or a fault does.

    Ctrl-C disarms and ends in order; a second one is an e-stop.

    Args:
        bundle: As :func:`edgerl.bundle.load.load_bundle` returned it.
        robot: ``gym:ENV_ID``, ``pkg:module:Class`` or ``udp:HOST:PORT``.
        recording: New file for all ticks; the dumps of faults get names like it, also where nothing else is kept.
        options: How to run.
        on_progress: Called with where the run is, about ten times a second.
        shadow: A bundle whose policy gets the same observations; its actions are recorded and never sent.

    Raises:
        PlatformError: Not Linux, the package has no core, or the bundle is for another processor.
        LoopError: The robot, the guardian or a policy process did not start, the guardian did not arm, or the shadow's
            policy does not fit this run.
        PolicyTooSlow: The policy cannot answer in the time that its envelope leaves it.
        EnvelopeError: The envelope does not fit the policy.
        OutputError: The recording exists or cannot be written.
    """
    options = options or RunOptions()
    check_machine(bundle.manifest.target)
    load = load_of(bundle, options.backend)
    newcomer = None
    if shadow is not None:
        check_machine(shadow.manifest.target)
        newcomer = load_of(shadow, load.engine.backend)
    return run_load(load, robot, recording, options, on_progress, shadow=newcomer)


def run_load(
    load: Load,
    robot: str,
    recording: Path,
    options: RunOptions,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    shadow: Load | None = None,
) -> RunResult:
    """Run what :func:`load_of` returned; see :func:`run`."""
    core.library()  # says what is missing before anything is started
    spec, target = load.engine.spec, parse_robot(robot)
    check_envelope(load.envelope, spec)
    open_policy = unconfined(wanted=options.confine, production=options.production)
    if shadow is not None:
        check_newcomer(shadow, load)
    layout = layout_of(spec, load.envelope)
    config = configure(load, options)
    course = _course(options, load.envelope, config, gym=isinstance(target, GymRobot), robot=robot)
    with contextlib.ExitStack() as stack:
        interrupts = stack.enter_context(catch_interrupts())  # first in, last out: no signal breaks the clean-up
        control = _control(options, load, robot, recording)
        if control:
            stack.enter_context(control)
        terms = Terms(layout, config.period_ns, config.budget_ns, config.valid_for_ns)
        plant = _plant_settings(load.envelope, config, options) if isinstance(target, GymRobot) else PlantSettings()
        access = Access(options.robot_key, options.production, options.plant_priority)
        meanwhile = _meanwhile(interrupts, control)
        frames = _frames(layout, load.envelope, options, stack, gym=isinstance(target, GymRobot))
        connected = connect(target, terms, access, plant, stack, frames=frames, meanwhile=meanwhile)
        session, process = connected.session, connected.process
        session.configure(config)
        header = recording_header(load, robot, session, layout=layout, config=config, same_clock=connected.same_clock)
        recorder = stack.enter_context(Recorder(recording, header, options.keep))
        supervisor = stack.enter_context(
            Supervisor(
                config,
                load.work,
                session,
                recorder,
                policy_priority=options.policy_priority,
                restarts=options.restarts if course.stays or not course.arms else None,
                spare=options.spare,
                frames=frames,
                watch=StateWatch(config, layout.state),
                confine=not open_policy,
                timeouts=options.timeouts,
            )
        )
        if shadow is not None:
            supervisor.policies.propose(shadow.work)
        orders = None
        if control:
            orders = stack.enter_context(
                Orders(control, supervisor.policies, lambda file: newcomer_in(file, load).work)
            )
        health = stack.enter_context(_health(options, config))
        drive = Drive(
            supervisor, process, interrupts, orders, health, course=course, on_progress=on_progress or (lambda _: None)
        )
        with control.wired(supervisor) if control else contextlib.nullcontext():
            end = drive.run()
        health.orderly = supervisor.guardian.alive
        supervisor.stop(_BYE[end.how])
        if process:
            process.finish(patience_s=FAREWELL_S)
        kept = recorder.close()
        connected = replace(connected, warnings=(*connected.warnings, *filter(None, [open_policy])))
        return _result(
            end,
            load,
            supervisor,
            header=header,
            kept=kept,
            tally=recorder.tally,
            connected=connected,
            options=options,
            warning=drive.warning,
        )


def _frames(
    layout: Layout, envelope: Envelope, options: RunOptions, stack: contextlib.ExitStack, *, gym: bool
) -> FrameSources | None:
    if envelope.frames is None and not options.frames:
        return None
    max_age_ns = envelope.frames.max_age_ns if envelope.frames else 0
    return FrameSources(stack, layout.frames, options.frames, max_age_ns=max_age_ns, from_robot=gym)


def _course(options: RunOptions, envelope: Envelope, config: Config, *, gym: bool, robot: str) -> Course:
    arms = gym if options.arm is None else options.arm
    stays = (not gym and options.control is not None) if options.stay is None else options.stay
    for wanted, what in ((not arms, "arm the policy"), (stays, "reset the run after a fault")):
        if wanted and options.control is None:
            raise LoopError(
                f"Nobody could {what}: the run on {robot} has no control socket. Give it one (RunOptions.control), or "
                "say RunOptions.arm = True and leave RunOptions.stay."
            )
    return Course(
        arms=arms,
        stays=stays,
        ticks=options.ticks,
        prepare_s=config.prepare_ns * 1e-9,
        ladder_s=envelope.ladder.longest_ns * 1e-9,
        lapse_s=(config.valid_for_ns + 2 * config.period_ns) * 1e-9,
    )


def _control(options: RunOptions, load: Load, robot: str, recording: Path) -> ControlServer | None:
    if options.control is None:
        return None
    loop = LoopStatus(at_ns=time.monotonic_ns())
    about = RunStatus(
        name="",
        pid=os.getpid(),
        robot=robot,
        bundle=load.bundle,
        recording=str(recording) if options.keep.ticks else "",
        started_unix_ns=time.time_ns(),
        operator=_operator(load),
        owner=None,
        clients=0,
        loop=loop,
    )
    return ControlServer(options.control, about)


def _operator(load: Load) -> OperatorStatus | None:
    operator = load.envelope.operator
    if operator is None:
        return None
    units = [value.unit or "" for value in operator_values(load.engine.spec)]
    values = tuple(
        OperatorValueStatus(one.name, unit, one.low, one.high, one.timeout_value)
        for one, unit in zip(operator.values, units, strict=True)
    )
    return OperatorStatus(values, operator.timeout_ns * 1e-9, operator.dead_man)


def _health(options: RunOptions, config: Config) -> Health:
    notifier = Notifier.of(os.environ) if options.notify else Notifier()
    watchdog = Watchdog(options.watchdog) if options.watchdog else None
    return Health(notifier, watchdog, fresh_ns(config.period_ns, config.state_timeout_ns))


def _meanwhile(interrupts: Interrupts, control: ControlServer | None) -> Callable[[], None]:
    """Return what is called while the robot starts, when there is no loop yet that could be asked."""

    def look() -> None:
        if control:
            for asked in control.take():
                stop = asked.ask.do == "stop"
                interrupts.count += stop
                control.answer(asked, "" if stop else "The run is starting. Ask again in a moment.")
        interrupts.check()

    return look


def _period_ns(spec: PolicySpec) -> int:
    if spec.period_ns is None:
        raise LoopError("The policy has no control period. Export it with period_s in the file for --spec.")
    return spec.period_ns


def configure(load: Load, options: RunOptions) -> Config:
    """Return the guardian's configuration for a load, without a session.

    Raises:
        LoopError: The policy cannot be run by this version.
    """
    spec = load.engine.spec
    period_ns = _period_ns(spec)
    config, layout = core.new_config(), layout_of(spec, load.envelope)
    apply_envelope(config, load.envelope, spec, layout)
    config.production = int(options.production)
    config.lead_ns = min(1_000_000, period_ns // 20) if options.lead_ns is None else options.lead_ns
    config.spin_ns = min(options.spin_ns, period_ns // 20)
    # Most of the budget: a late state still makes a good command, and what is held meanwhile is valid anyway.
    config.state_grace_ns = config.budget_ns * 3 // 4
    config.heartbeat_timeout_ns = options.heartbeat_timeout_ns
    # A second, or several tries of a slow policy, each of which takes its period.
    config.arm_ticks = max(10, round(1e9 / period_ns), 5 * spec.robot.policy_divider)
    apply_terms(config, spec)
    apply_state(config, load.envelope, layout)
    config.ring_capacity = ring_capacity(record_bytes(policy_arrays(layout, spec)))
    config.priority, config.cpu = options.guardian_priority, options.cpu
    config.lock_memory = int(options.lock_memory)
    return config


def _plant_settings(envelope: Envelope, config: Config, options: RunOptions) -> PlantSettings:
    if math.isfinite(options.realtime_s) and not envelope.allow_lockstep:
        raise LoopError(
            f"Lockstep after {options.realtime_s:g} s was asked for, and the bundle's envelope does not allow it. "
            "Pack the bundle with allow_lockstep = true (for simulations only), or run all of it in real time."
        )
    # The plant integrates after the guardian's budget, which begins a lead after the state was published.
    share = (config.lead_ns + config.budget_ns) / config.period_ns + 0.05
    return PlantSettings(
        options.seed, options.episodes, options.realtime_s, min(share, 0.98), options.plant_priority
    )  # fmt: skip


def recording_header(
    load: Load, robot: str, session: Session, *, layout: Layout, config: Config, same_clock: bool
) -> Header:
    """Return what a recording says of the run that it is about to hold."""
    guardian = {
        name: int(getattr(config, name))
        for name in (field[0] for field in Config._fields_)
        if isinstance(getattr(config, name), int) and name not in ("magic", "version", "bytes", "session", "reserved")
    }
    return Header(
        schema=SCHEMA,
        bundle=load.bundle,
        spec=canonical.digest(load.engine.spec),
        robot=robot,
        session=f"{session.id:016x}",
        started_unix_ns=time.time_ns(),
        started_monotonic_ns=time.monotonic_ns(),
        machine=this_machine(),
        guardian=guardian,
        same_clock=same_clock,
        arrays=policy_arrays(layout, load.engine.spec),
    )


def _result(
    end: End,
    load: Load,
    supervisor: Supervisor,
    *,
    header: Header,
    kept: Kept,
    tally: Tally,
    connected: Connection,
    options: RunOptions,
    warning: str,
) -> RunResult:
    process, status, names = (
        connected.process,
        supervisor.status,
        (channel.name for channel in header.channels("command")),
    )
    counts = counts_of(
        status, supervisor.violations(), names, rejected=tally.rejected.tolist(), saturated=tally.saturated.tolist()
    )
    fault = Event(status.fault)
    granted = options.guardian_priority if status.priority_errno == 0 else 0
    locked = options.lock_memory and status.lock_errno == 0
    return RunResult(
        ended=end.how,
        message=end.message,
        fault=None if fault in (Event.NOMINAL, Event.QUIT) else fault.name.lower(),
        ticks=int(status.ticks),
        realtime_ticks=tally.realtime_ticks,
        lockstep_ticks=tally.lockstep_ticks,
        misses=tally.misses,
        modes=tally.modes,
        timing=tally.timing,
        counts=counts,
        scheduling=Scheduling(granted, status.priority_errno, status.affinity_errno, locked, status.lock_errno),
        episodes=tuple(process.episodes) if process else (),
        plant=process.end if isinstance(process, PlantProcess) else None,
        recording=kept.recording,
        lost_records=max(0, int(status.ticks) - kept.ticks) if kept.recording else 0,
        dumps=kept.dumps,
        recording_trouble=kept.trouble,
        bundle=load.bundle,
        driver=process.end if isinstance(process, DriverProcess) else None,
        warnings=(*connected.warnings, *filter(None, (warning,))),
        frames=supervisor.frame_counts(),
    )
