"""Which inputs are frames, and what is left of the record and of the channels without them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgerl import canonical
from edgerl.errors import LoopError
from edgerl.frame_inputs import MAX_CHANNELS, frame_inputs, is_frame, record_inputs, record_size
from edgerl.runtime import core
from edgerl.runtime.enums import MAX_STATES, Dtype
from edgerl.runtime.layout import FrameChannel, Layout, layout_of
from edgerl.runtime.observation_config import apply_terms
from edgerl.spec import History, Input, PolicySpec, Term, opaque_term, packed
from tests.loop_parts import spec_of


def input_of(name: str, shape: tuple[int, ...], dtype: str = "float32", **term: object) -> Input:
    made = Input(f"observation.{name}", shape, dtype, 0, ())  # type: ignore[arg-type]
    return replace(made, terms=(replace(opaque_term(name, made.size), **term),))  # type: ignore[arg-type]


def spec_with(*inputs: Input) -> PolicySpec:
    return replace(spec_of(20_000_000), inputs=packed(inputs))


@pytest.mark.parametrize(
    ("item", "frame"),
    [
        (input_of("image", (8, 8, 3), "uint8"), True),
        (input_of("video", (2, 4, 4, 1), "uint8"), True),
        (input_of("camera", (8, 8, 3), "uint8", source="external", unit="1"), True),
        (input_of("gray", (8, 8), "uint8"), False),
        (input_of("large gray", (84, 84), "uint8"), True),
        (input_of("depth", (8, 8, 3), "float32"), False),
        (input_of("large depth", (64, 64, 1), "float32"), True),
        (input_of("scan", (357,), "float32"), False),
        (input_of("large scan", (358,), "float32"), True),
        (input_of("classes", (20, 20), "int32"), True),
        (input_of("scaled", (8, 8, 3), "uint8", scale=(0.5,) * 192), False),
        (input_of("shifted", (8, 8, 3), "uint8", offset=(0.5,) * 192), False),
        (input_of("clipped", (8, 8, 3), "uint8", clip=(0.0, 1.0)), False),
        (input_of("joints", (400,), "float32", source="joint_position"), False),
        (input_of("stack", (400,), history=History(2, "oldest_first", "term_major", "repeat")), False),
    ],
    ids=lambda value: value.name if isinstance(value, Input) else "",
)
def test_an_image_or_what_no_datagram_can_carry_is_a_frame(item: Input, frame: bool) -> None:
    assert is_frame(item) == frame


def test_a_datagram_carries_as_many_values_as_the_guardian_takes() -> None:
    assert MAX_CHANNELS == MAX_STATES


def test_without_frames_the_record_is_the_specs() -> None:
    spec = spec_with(input_of("a", (3,)), input_of("b", (20,)))
    assert (record_inputs(spec), record_size(spec), frame_inputs(spec)) == (spec.inputs, spec.record_size, ())
    assert layout_of(spec).frames == ()


def test_the_record_and_the_channels_are_those_of_the_other_inputs() -> None:
    spec = spec_with(
        input_of("image", (480, 640, 3), "uint8"), input_of("speed", (2,)), input_of("gear", (1,), "int32")
    )
    layout = layout_of(spec)
    assert layout.frames == (FrameChannel("observation.image", (480, 640, 3), "uint8"),)
    assert layout.frames[0].nbytes == 921_600
    assert [channel.name for channel in layout.state] == [
        "observation.speed[0]",
        "observation.speed[1]",
        "observation.gear[0]",
    ]
    assert [(item.name, item.offset) for item in record_inputs(spec)] == [
        ("observation.speed", 0),
        ("observation.gear", 64),
    ]
    config = core.new_config()
    apply_terms(config, spec)
    terms = [(term.first, term.count, term.offset, Dtype(term.dtype)) for term in config.terms[: config.term_count]]
    assert terms == [(0, 2, 0, Dtype.FLOAT32), (2, 1, 64, Dtype.INT32)]
    assert (config.state_count, config.element_count, config.observation_bytes) == (3, 3, 128)


def test_a_policy_that_observes_only_images_has_neither_record_nor_channels() -> None:
    spec = spec_with(input_of("left", (8, 8, 3), "uint8"), input_of("right", (8, 8, 3), "uint8"))
    assert (record_inputs(spec), record_size(spec), layout_of(spec).state) == ((), 0, ())
    config = core.new_config()
    apply_terms(config, spec)
    assert (config.state_count, config.term_count, config.observation_bytes) == (0, 0, 0)


def test_the_layouts_digest_covers_every_fact_of_a_frame_and_is_the_old_one_without_frames() -> None:
    image = FrameChannel("observation", (8, 8, 3), "uint8")
    variants = [(), (image,), (replace(image, name="o"),), (replace(image, shape=(8, 3, 8)),), (image, image)]
    variants.append((replace(image, dtype="float32"),))
    assert len({Layout((), (), frames).sha256() for frames in variants}) == len(variants)
    assert canonical.dumps(Layout((), ())) == '{"command":[],"state":[]}'
    assert canonical.loads(Layout, canonical.dumps(Layout((), (), (image,))), "it") == Layout((), (), (image,))


def test_an_image_that_no_frame_port_can_carry_is_refused() -> None:
    large = Term("o", 0, 2**26 + 4, "opaque", None, None, (), None, None, None, None)
    spec = spec_with(Input("observation", (2**24 + 1, 4), "uint8", 0, (large,)))
    with pytest.raises(LoopError, match=r"67,108,868 bytes; the frame port carries 67,108,864"):
        layout_of(spec)
