"""The file that says what a checkpoint does not say: written, filled in, and held against what is known."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.completion import complete, read_graph_facts
from edgerl.errors import SpecError
from edgerl.spec import Input, PolicySpec, opaque_term, packed
from edgerl.template import template
from edgerl.toml import parse_toml
from tests.policies import box, box_head, memory_policy, mlp, spec_of

SPEC = mlp(size=4).spec


@pytest.fixture
def filled(tmp_path):
    def fill(text: str, spec: PolicySpec = SPEC) -> PolicySpec:
        path = tmp_path / "extra.toml"
        path.write_text(text)
        return complete(spec, path)

    return fill


IMAGE_SPEC = spec_of([box("observation.image", 4, 5, 3, dtype="uint8")], box_head(1))


@pytest.mark.parametrize("spec", [SPEC, memory_policy().spec, IMAGE_SPEC])
def test_an_empty_template_changes_nothing(filled, spec):
    assert filled(template(spec), spec) == spec


def test_the_template_says_what_is_missing_why_and_what_is_known():
    text = template(SPEC)
    assert "period_s: the control loop needs its period" in text
    assert "# period_s = 0.02" in text and "low [-1.0, -1.0]" in text
    said = replace(SPEC, period_ns=20_000_000)
    assert "# known: period_s = 0.02" in template(said) and "cannot run without" not in template(said)


def test_every_example_line_of_the_template_is_valid_toml_of_known_keys(filled):
    examples = [line.removeprefix("# ") for line in template(SPEC).splitlines() if line.startswith("# ")]
    examples = [line for line in examples if re.match(r"[a-z_]+ = ", line)]
    assert len(examples) > 15
    tables = ("", "[action]\n", "[robot]\n", '[terms."observation.observation"]\n')
    for line in examples:
        problems = [problem(filled, table + line) for table in tables]
        assert any("unknown key" not in text for text in problems), (line, problems)
        assert not any("not valid TOML" in text for text in problems), (line, problems)


def problem(filled, text: str) -> str:
    try:
        filled(text)
    except SpecError as error:
        return str(error)
    return ""


@given(st.text(min_size=1, max_size=20))
def test_a_name_from_a_checkpoint_cannot_break_out_of_the_template(name):
    named = Input("observation", (2,), "float32", 0, (opaque_term(name, 2),))
    spec = replace(SPEC, inputs=packed([named]), provenance=replace(SPEC.provenance, trainer=name))
    table = parse_toml(template(spec).encode(), "template", ("action", "robot", "terms"), SpecError)
    assert table.keys("terms") == (f"observation.{name}",)


def test_what_nobody_said_is_filled_in_and_becomes_the_users(filled):
    spec = filled(
        'period_s = 0.02\n[action]\nnames = ["hip", "knee"]\nunit = "Nm"\nmeaning = "torque"\noffset = [0.0, 0.1]\n'
        'scale = [1, 2.5]\n[robot]\njoints = ["hip", "knee"]\nkp = [1.0, 2.0]\npd = "drive"\n'
        'quaternion_order = "wxyz"\ndefault_pose = [0.1, 0.2]\npolicy_divider = 4\n'
        '[terms."observation.observation"]\nunit = "rad"\n'
    )
    assert spec.period_ns == 20_000_000 and spec.action.scale == (1.0, 2.5) and spec.robot.joints == ("hip", "knee")
    assert spec.inputs[0].terms[0].unit == "rad" and spec.robot.policy_divider == 4
    users = {name for name, source in spec.sources.items() if source == "user"}
    assert {"period_ns", "action.unit", "robot.kp", "inputs.observation.observation.unit"} <= users
    assert spec.sources["action"] == "checkpoint" and not spec.unknowns()


@pytest.mark.parametrize(("text", "period_ns"), [
    ("rate_hz = 50", 20_000_000), ("period_s = 0.0025", 2_500_000), ("rate_hz = 1000.0", 1_000_000),
    ("rate_hz = 60", 16_666_667), ("period_s = 1", 1_000_000_000),
])  # fmt: skip
def test_a_period_is_the_nearest_whole_nanosecond(filled, text, period_ns):
    assert filled(text).period_ns == period_ns


@pytest.mark.parametrize("text", [
    "period_s = 0.0", "period_s = -0.02", "rate_hz = 0", "rate_hz = 1e300", "period_s = 1e300", "period_s = 1e-12",
    "period_s = nan", "rate_hz = inf", 'period_s = "0.02"', "period_s = true",
    "period_s = 0.02\nrate_hz = 50",
])  # fmt: skip
def test_a_period_that_makes_no_sense_is_refused(filled, text):
    with pytest.raises(SpecError, match=r"period_s|rate_hz"):
        filled(text)


@pytest.mark.parametrize(("text", "message"), [
    ("periods = 1", "unknown key 'periods'. Known keys: action"),
    ("[action]\nnam = []", "unknown key 'nam'.*names"),
    ("[robot]\nkpp = [1]", "unknown key 'kpp'"),
    ('[terms."observation.observation"]\nunits = "rad"', "unknown key 'units'"),
    ('[terms."observation.speed"]\nunit = "m/s"', "no term 'speed'. Its terms: observation"),
    ('[terms."speed"]\nunit = "m/s"', "belongs to no input"),
    ('[terms."camera.speed"]\nunit = "m/s"', "inputs observation"),
    ('[action]\nmeaning = "speed"', "Valid: position, velocity"),
    ("[action]\noffset = [1.0]", "1 offset for 2 channels"),
    ('[action]\nnames = ["a", "a"]', "each given once"),
    ("[graph]\noutput = 1", "unknown key 'output'"),
    ("= 3", "not valid TOML"),
    ('[terms."observation.observation"]\nclip = [1.0]', r"Expected \[low, high\]"),
])  # fmt: skip
def test_a_mistake_is_named_with_what_would_be_valid(filled, text, message):
    with pytest.raises(SpecError, match=message):
        filled(text)


def test_what_the_checkpoint_said_is_changed_only_on_purpose(filled):
    said = replace(SPEC, action=replace(SPEC.action, unit="Nm"))
    with pytest.raises(SpecError, match=r"'mNm', but the checkpoint says 'Nm'.*override = \[\"action.unit\"\]"):
        filled('[action]\nunit = "mNm"', said)
    spec = filled('override = ["action.unit"]\n[action]\nunit = "mNm"', said)
    assert spec.action.unit == "mNm" and spec.sources["action.unit"] == "user"
    assert filled('[action]\nunit = "Nm"', said).sources == said.sources


def test_what_was_a_default_may_be_changed_freely(filled):
    assert filled("[robot]\npolicy_divider = 2").robot.policy_divider == 2


def test_an_override_that_changes_nothing_is_a_mistake(filled):
    with pytest.raises(SpecError, match=r"override names 'action\.unit'"):
        filled('override = ["action.unit"]')


@pytest.mark.parametrize("text", ['kind = "discrete"', "low = [-2.0, -2.0]", "high = [1.0, inf]"])
def test_what_the_graph_computes_with_cannot_be_talked_away(filled, text):
    with pytest.raises(SpecError, match="computes with"):
        filled(f'override = ["action.low"]\n[action]\n{text}')


def test_the_range_may_be_repeated_as_it_is(filled):
    assert filled('[action]\nkind = "continuous"\nlow = [-1, -1]\nhigh = [1, 1]') == SPEC


SPLIT = """
[robot]
joints = ["hip", "knee"]
[terms."observation.velocity"]
slice = [2, 4]
source = "joint_velocity"
unit = "rad/s"
joints = ["hip", "knee"]
scale = [0.1, 0.1]
history = { length = 1, layout = "term_major", reset = "zeros" }
[terms."observation.position"]
slice = [0, 2]
source = "joint_position"
unit = "rad"
joints = ["hip", "knee"]
clip = [-3, 3]
"""


def test_an_opaque_input_is_split_into_terms_in_the_order_of_their_slices(filled):
    terms = filled(SPLIT).inputs[0].terms
    assert [(term.name, term.start, term.stop, term.source) for term in terms] == [
        ("position", 0, 2, "joint_position"), ("velocity", 2, 4, "joint_velocity"),
    ]  # fmt: skip
    assert terms[0].clip == (-3.0, 3.0) and terms[1].history.reset == "zeros" and terms[1].scale == (0.1, 0.1)


@pytest.mark.parametrize(("change", "message"), [
    (("slice = [0, 2]", ""), "slice is missing"),
    (("slice = [0, 2]", "slice = [0, 1]"), "2 joints for 1 elements"),
    (("slice = [2, 4]", "slice = [2, 3]"), "2 values of scale for 1 elements"),
    (("slice = [2, 4]", "slice = [3, 4]"), "expected to start at 2"),
    (("slice = [0, 2]", "slice = [0.5, 2]"), "Expected .first"),
    (('joints = ["hip", "knee"]\nscale', 'joints = ["hip", "ankle"]\nscale'), "'ankle' is not a joint"),
])  # fmt: skip
def test_a_split_that_does_not_cover_the_input_is_refused(filled, change, message):
    with pytest.raises(SpecError, match=message):
        filled(SPLIT.replace(*change))


def test_terms_that_the_checkpoint_named_are_replaced_only_on_purpose(filled):
    named = filled(SPLIT)
    with pytest.raises(SpecError, match="has terms already: position, velocity"):
        filled(SPLIT, named)
    assert filled('override = ["inputs.observation.terms"]\n' + SPLIT, named) == named


def test_facts_about_a_foreign_graph_come_from_the_same_file(tmp_path):
    path = tmp_path / "extra.toml"
    path.write_text('[graph]\naction = "mu"\n[action]\nkind = "continuous"\nlow = [-inf, -1]\nhigh = [inf, 1]\n')
    facts = read_graph_facts(path)
    assert (facts.action_output, facts.kind, facts.low, facts.high) == (
        "mu", "continuous", (float("-inf"), -1.0), (float("inf"), 1.0)
    )  # fmt: skip
    assert read_graph_facts(None).kind is None
