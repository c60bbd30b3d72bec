from __future__ import annotations

import contextlib
import socket
import threading
from contextlib import contextmanager

import pytest

from edgerl.errors import LoopError, PortError
from edgerl.runtime import core, wire
from edgerl.runtime.enums import MAX_DRAIN, Dtype
from edgerl.runtime.layout import Channel, Layout, layout_of
from edgerl.runtime.observation_config import apply_terms
from edgerl.runtime.robots import DriverRobot, GymRobot, ShmRobot, UdpRobot, parse_robot
from edgerl.runtime.session import Terms, open_session
from edgerl.runtime.wire import MAX_DATAGRAM, Header, Hello, Refusal, WelcomeFlag
from edgerl.spec import Action, Input, PolicySpec, Provenance, Robot, opaque_term, packed

LAYOUT = Layout((Channel("s", "rad"),), (Channel("a", "N m"),))
TERMS = Terms(LAYOUT, period_ns=10_000_000, budget_ns=5_000_000, valid_for_ns=20_000_000)


@contextmanager
def robot(*answers):
    """A robot that gives one list of datagrams, made from the HELLO, to each HELLO in turn; yields its address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(5.0)
        heard = []

        def live() -> None:
            for answer in answers:
                data, sender = listening.recvfrom(2048)
                heard.append(wire.decode(data))
                for datagram in answer(heard[-1]):
                    listening.sendto(datagram, sender)

        thread = threading.Thread(target=live)
        thread.start()
        yield listening, heard
        thread.join(6.0)
        assert not thread.is_alive()


def welcome(hello: Hello, **changes) -> bytes:
    fields = {
        "header": hello.header,
        "layout_sha256": hello.layout_sha256,
        "period_ns": hello.period_ns,
        "command_timeout_ns": 0,
        "flags": WelcomeFlag(0),
        **changes,
    }
    return wire.encode(wire.Welcome(**fields))


def test_a_session_is_asked_for_with_the_terms_and_ends_with_bye() -> None:
    with robot(lambda hello: [welcome(hello)]) as (listening, heard):
        with open_session(listening.getsockname(), TERMS) as session:
            assert session.welcome.period_ns == TERMS.period_ns
        bye = wire.decode(listening.recvfrom(2048)[0])
    (hello,) = heard
    assert (hello.layout_sha256, hello.period_ns) == (LAYOUT.sha256(), TERMS.period_ns)
    assert (hello.budget_ns, hello.valid_for_ns) == (TERMS.budget_ns, TERMS.valid_for_ns)
    assert (hello.state_count, hello.command_count) == (1, 1)
    assert hello.header.session == session.id != 0
    assert isinstance(bye, wire.Bye)
    assert bye.header.session == session.id


def test_a_queue_that_overflows_holds_more_than_a_tick_reads() -> None:
    """Else the guardian could read all of it, and take the newest that had room for the newest there is."""
    with (
        robot(lambda hello: [welcome(hello)]) as (listening, _),
        open_session(listening.getsockname(), TERMS) as session,
    ):
        for _ in range(2000):
            listening.sendto(bytes(MAX_DATAGRAM), session.socket.getsockname())
        waiting = 0
        with contextlib.suppress(BlockingIOError):
            while session.socket.recv(MAX_DATAGRAM, socket.MSG_DONTWAIT):
                waiting += 1
    assert MAX_DRAIN < waiting < 2000


def test_hello_is_repeated_until_it_is_answered_and_noise_is_no_answer() -> None:
    def noise(hello: Hello) -> list[bytes]:
        stranger = Header(hello.header.session ^ 1, 1, 1)
        return [b"noise", welcome(hello, header=stranger), wire.encode(hello), welcome(hello)[:-1]]

    with robot(lambda _: [], noise, lambda hello: [welcome(hello)]) as (listening, heard):
        open_session(listening.getsockname(), TERMS).leave()
    assert [hello.header.sequence for hello in heard] == [1, 2, 3]
    assert len({hello.header.session for hello in heard}) == 1


@pytest.mark.parametrize("code", list(Refusal))
def test_a_refusal_says_the_robots_reason_and_what_to_do(code) -> None:
    def refuse(hello: Hello) -> list[bytes]:
        return [wire.encode(wire.Refused(hello.header, code, "because\x1b[31m"))]

    with robot(refuse) as (listening, _), pytest.raises(PortError, match=r"refused: .*because\?\[31m\)\. ."):
        open_session(listening.getsockname(), TERMS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layout_sha256": bytes(32)}, "another layout or period"),
        ({"period_ns": 1}, "another layout or period"),
        ({"command_timeout_ns": 19_999_999}, "own time-out is 19999999 ns"),
    ],
)
def test_a_welcome_that_should_have_been_a_refusal_is_refused_here(changes, words) -> None:
    with robot(lambda hello: [welcome(hello, **changes)]) as (listening, _), pytest.raises(PortError, match=words):
        open_session(listening.getsockname(), TERMS)


def test_a_robot_that_does_not_answer_is_given_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(PortError, match=r"did not answer within 0\.05 s"):
            open_session(silent.getsockname(), TERMS, timeout_s=0.05)
    with pytest.raises(PortError, match="cannot be reached"):
        open_session(("::1", 1), TERMS, timeout_s=0.05)


def test_whoever_gives_up_says_bye_to_a_robot_that_may_have_taken_the_session() -> None:
    def interrupted() -> None:
        if heard:
            raise KeyboardInterrupt

    with robot(lambda hello: []) as (listening, heard):
        with pytest.raises(KeyboardInterrupt):
            open_session(listening.getsockname(), TERMS, meanwhile=interrupted)
        bye = wire.decode(listening.recvfrom(2048)[0])
        while isinstance(bye, Hello):  # asked again before the first one was heard
            bye = wire.decode(listening.recvfrom(2048)[0])
    assert isinstance(bye, wire.Bye)
    assert bye.header.session == heard[0].header.session


def test_robots_are_named_by_kind() -> None:
    assert parse_robot("gym:HalfCheetah-v5") == GymRobot("HalfCheetah-v5")
    assert parse_robot("gym:my.module:Env-v0") == GymRobot("my.module:Env-v0")
    assert parse_robot("udp:10.0.0.2:4000") == UdpRobot("10.0.0.2", 4000)
    assert parse_robot("pkg:my_robots.walker:Walker") == DriverRobot("my_robots.walker:Walker")
    assert parse_robot("shm:walker") == ShmRobot("walker")
    assert parse_robot("shm:/run/walker.driver") == ShmRobot("/run/walker.driver")


@pytest.mark.parametrize(
    "text",
    ["", "gym", "gym:", "udp:1", "udp::1", "udp:h:0", "udp:h:70000", "udp:h:x", "shm:", "pkg:A", "pkg:a/b:C", "pkg:a:"],
)
def test_other_robots_are_refused_with_the_supported_ones(text) -> None:
    with pytest.raises(PortError, match="Supported: gym:ENV_ID"):
        parse_robot(text)


def spec_with(*inputs: Input, actions: int = 2) -> PolicySpec:
    box = (-1.0,) * actions, (1.0,) * actions
    return PolicySpec(
        schema=1,
        inputs=packed(inputs),
        action=Action("continuous", ("hip", "knee")[:actions] or None, "N m", "torque", *box, True, False, None, None)
        if actions <= 2
        else Action("continuous", None, None, "opaque", *box, True, False, None, None),
        robot=Robot((), None, None, None, "none", None, 1),
        period_ns=1,
        state=(),
        provenance=Provenance("t", None, None, {}, {}, None, ()),
        sources={},
    )


def test_the_layout_is_the_elements_of_the_inputs_in_order() -> None:
    spec = spec_with(
        Input("observation.a", (2,), "float32", 0, (opaque_term("a", 2, unit="rad"),)),
        Input("observation.b", (1, 2), "int32", 0, (opaque_term("b", 2),)),
    )
    layout = layout_of(spec)
    assert layout.state == (
        Channel("observation.a[0]", "rad"),
        Channel("observation.a[1]", "rad"),
        Channel("observation.b[0]", "1"),
        Channel("observation.b[1]", "1"),
    )
    assert layout.command == (Channel("hip", "N m"), Channel("knee", "N m"))
    config = core.new_config()
    apply_terms(config, spec)
    terms = [(term.first, term.count, term.offset, Dtype(term.dtype)) for term in config.terms[: config.term_count]]
    assert terms == [(0, 2, 0, Dtype.FLOAT32), (2, 2, 64, Dtype.INT32)]
    assert [element.index for element in config.elements[: config.element_count]] == [0, 1, 2, 3]
    assert (config.state_count, config.observation_bytes) == (4, 128)


def test_what_this_version_cannot_carry_is_refused() -> None:
    halves = [Input(f"observation.{name}", (200,), "float32", 0, (opaque_term(name, 200),)) for name in "ab"]
    with pytest.raises(LoopError, match=r"400 state channels.*357"):
        layout_of(spec_with(*packed(halves)))
    with pytest.raises(LoopError, match=r"300 command channels.*256"):
        layout_of(spec_with(Input("observation", (1,), "float32", 0, (opaque_term("o", 1),)), actions=300))
