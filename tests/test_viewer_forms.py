"""From the JSON schema of an operation to a form and back, for every operation that is registered."""

import enum
import json
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field
from viewer_service import QtCore

from tiled_spyde import operations
from tiled_spyde.errors import InvalidOperation
from viewer.forms import Sort, fitting, form_of, problems_of, problems_told, start, trimmed
from viewer.nodes import Axis, Node
from viewer.panels.editors import NodeEditor
from viewer.panels.fields import GroupEditor, ListEditor, Row, Scope, VariantEditor, brief
from viewer.quantities import Reach, axis_of, beginning, converted, reach_of, reach_on, told, units_of

SCAN = (Axis("y", 5, 2.0, 0.0, "nm", True), Axis("x", 7, 2.0, 0.0, "nm", True))
PATTERN = (Axis("ky", 60, 0.1, -3.0, "1/nm"), Axis("kx", 90, 0.1, -4.5, "1/nm"))
ENERGY = (Axis("Energy", 2000, 0.5, 100.0, "eV"),)
OPERATIONS = operations.describe()
NAMES = [described["name"] for described in OPERATIONS]


def node(signal, name="root", scan=SCAN, **more):
    axes = (*scan, *signal)
    return Node(("scan", name), "0a", axes, "<u2", tuple(axis.size for axis in axes), **more)


def described(name):
    return next(operation for operation in OPERATIONS if operation["name"] == name)


def parent_for(name):
    dimensions = described(name)["accepts"]["signal_dimensions"]
    return node(PATTERN if 2 in dimensions else ENERGY if 1 in dimensions else ())


def form_for(qtbot, schema, about=None):
    """The rows of a schema, with its defaults in them."""
    field = form_of(schema)
    form = GroupEditor(field, (), Scope(about or node(PATTERN), [node(PATTERN, "other"), node((), "map")]))
    qtbot.addWidget(form.body)
    form.show_value(start(field))
    form.set_base(start(field))
    return field, form


def rows(form):
    return {".".join(row.path): row for row in form.rows()}


def refused(name, parameters):
    """What the operation says against parameters; empty where it takes them."""
    try:
        operations.build(name, parameters)
    except InvalidOperation as error:
        return str(error)
    return ""


def switch_all_on(form, most=6):
    """Check every box that leaves something out, also those that appear by that; one more of every list."""
    for _ in range(most):
        for row in list(form.rows()):
            if row.field.optional and not row.label.isChecked():
                row.label.click()
            if isinstance(row.editor, ListEditor) and not row.editor.items:
                row.editor.more.click()


class Kind(enum.Enum):
    NARROW = "narrow"
    WIDE = "wide"


class Inner(BaseModel):
    kind: Literal["inner"] = "inner"
    depth: int = Field(3, ge=1, lt=9)


class Outer(BaseModel):
    kind: Literal["outer"] = "outer"
    text: str = ""


class Everything(BaseModel):
    """What operations may ask for one day."""

    choice: Literal["fast", "exact"] = "exact"
    number_choice: Literal[1, 2, 4] = 2
    kind: Kind = Kind.WIDE
    part: Annotated[Inner | Outer, Field(discriminator="kind")] = Inner()
    either: float | Literal["auto"] = "auto"
    maybe: float | None = Field(None, gt=0, le=50, description="Perhaps", json_schema_extra={"unit": "mrad"})
    many: list[float] = Field([1.0, 2.0], min_length=1, max_length=3)
    parts: list[Inner] = []
    pair: tuple[int, float] = (1, 2.5)
    by_name: dict[str, float] = {}
    anything: dict = Field({"a": 1})
    needed: int
    shifts: dict | None = Field(None, json_schema_extra={"x-node": {"navigation": "same", "signal": [2]}})


EVERYTHING = Everything.model_json_schema()


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_of_every_operation_are_what_leaving_all_out_means(qtbot, name):
    field, form = form_for(qtbot, described(name)["parameters"], parent_for(name))
    values = form.value()
    assert trimmed(field, values) == {part.name: values[part.name] for part in field.parts if part.required}
    nodes = [part.name for part in field.parts if part.sort is Sort.NODE]
    assert problems_of(field, values) == dict.fromkeys(nodes, "choose a node")
    all_told = operations.build(name, values)
    assert all_told == operations.build(name, trimmed(field, values))


@pytest.mark.parametrize("name", NAMES)
def test_what_every_operation_can_be_told_is_understood(qtbot, name):
    _, form = form_for(qtbot, described(name)["parameters"], parent_for(name))
    variants = [row for row in form.rows() if isinstance(row.editor, VariantEditor)]
    for number in range(max((row.editor.box.count() for row in variants), default=1)):
        for row in variants:
            row.editor.box.setCurrentIndex(number)
            row.editor.box.activated.emit(number)
        switch_all_on(form)
        values = json.loads(json.dumps(form.value()))
        refusal = refused(name, values)
        # Values may be wrong together, or a text be missing; their kinds are not.
        for wrong in ("Extra inputs", "valid number", "valid integer", "valid boolean", "Field required"):
            assert wrong not in refusal
        assert not refusal or problems_told(refusal, name, rows(form))


@pytest.mark.parametrize("name", NAMES)
def test_resetting_goes_back_for_each_and_for_all(qtbot, name):
    _, form = form_for(qtbot, described(name)["parameters"], parent_for(name))
    before = form.value()
    assert not any(row.reset.isEnabled() for row in form.rows())
    switch_all_on(form)
    for row in list(form.members):
        if row.reset.isEnabled():
            row.reset.click()
            assert row.value() == before[row.field.name]
    assert form.value() == before


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_explains_itself(name):
    schema = described(name)["parameters"]
    for part in form_of(schema).parts:
        assert part.label
        assert part.help == " ".join(schema["properties"][part.name].get("description", "").split())


def test_every_sort_of_parameter_has_its_editor(qtbot):
    field, form = form_for(qtbot, EVERYTHING)
    assert {part.name: part.sort for part in field.parts} == {
        "choice": Sort.CHOICE,
        "number_choice": Sort.CHOICE,
        "kind": Sort.CHOICE,
        "part": Sort.VARIANT,
        "either": Sort.VARIANT,
        "maybe": Sort.NUMBER,
        "many": Sort.LIST,
        "parts": Sort.LIST,
        "pair": Sort.GROUP,
        "by_name": Sort.MAPPING,
        "anything": Sort.ANY,
        "needed": Sort.INTEGER,
        "shifts": Sort.NODE,
    }
    assert Everything.model_validate(form.value() | {"shifts": None}) == Everything(
        needed=form.value()["needed"]
    )
    assert trimmed(field, form.value()) == {"needed": form.value()["needed"]}
    switch_all_on(form)
    assert form.value()["shifts"] is None, "nothing is chosen for a person"
    assert problems_of(field, form.value())["shifts"] == "choose a node"


def test_a_schema_that_refers_to_itself_ends(qtbot):
    itself = {"$ref": "#/$defs/Tree"}
    inside = {"type": "object", "properties": {"below": itself, "size": {"type": "integer"}}}
    schema = {"$defs": {"Tree": inside}, "type": "object", "properties": {"tree": itself}}
    _, form = form_for(qtbot, schema)
    assert form.value()["tree"]["size"] == 1


def test_bounds_are_said_before_anything_is_asked():
    field = form_of(EVERYTHING)
    values = start(field) | {
        "shifts": {"node": "a"},
        "maybe": 0.0,
        "part": {"kind": "inner", "depth": 9},
        "many": [],
    }
    assert problems_of(field, values) == {
        "maybe": "must be more than 0",
        "part.depth": "must be less than 9",
        "many": "1 to 3 are needed",
    }


@pytest.mark.parametrize(
    ("operation", "parameters", "where"),
    [
        ("gaussian_filter", {"sigma": 0}, "sigma"),
        ("subtract_background", {"min_sigma": 30.0}, "min_sigma"),
        ("virtual_image", {"detector": {"kind": "disk", "radius": {"value": -1}}}, "detector.radius"),
        (
            "virtual_image",
            {"detector": {"kind": "disk", "centre": {"x": {"index": -4}}}},
            "detector.centre.x",
        ),
        ("calibrate", {"axes": {"kx": {"scale": 0}}}, "axes.kx.scale"),
        ("calibrate", {"navigation_shape": [0]}, "navigation_shape.0"),
        ("bin", {"x": 5000}, "x"),
    ],
)
def test_what_the_service_refuses_stands_at_the_field_it_names(qtbot, operation, parameters, where):
    _, form = form_for(qtbot, described(operation)["parameters"], parent_for(operation))
    switch_all_on(form)
    form.show_value(form.value() | parameters)
    told_at = problems_told(refused(operation, parameters), operation, rows(form))
    assert next(iter(told_at)) == where
    assert not told_at[where].startswith(operation)
    assert "(got" not in told_at[where]


def test_what_it_says_of_no_field_is_said_of_all():
    assert problems_told("bin needs a signal of 1 or 2 dimension(s)", "bin", ["x", "y"]) == {
        "": "bin needs a signal of 1 or 2 dimension(s)"
    }


def test_units_are_those_of_the_axes(qtbot):
    _, form = form_for(qtbot, described("virtual_image")["parameters"])
    switch_all_on(form)
    found = rows(form)
    radius, x = found["detector.radius"].editor, found["detector.centre.x"].editor
    assert [radius.units.itemData(n) for n in range(2)] == ["px", "1/nm"]
    assert [x.units.itemText(n) for n in range(2)] == ["nm⁻¹", "px"]
    radius.units.setCurrentIndex(1)
    assert radius.value() == {"value": 1.0, "unit": "1/nm"}, "ten pixels of 0.1"
    x.show_value({"value": 0.0, "unit": "1/nm"})
    x.units.setCurrentIndex(1)
    assert x.value() == {"index": 45.0}
    x.slider.setValue(x.slider.maximum())
    assert x.value() == {"index": 89.0}


def test_what_is_told_of_one_alternative_is_there_when_it_is_chosen_again(qtbot):
    _, form = form_for(qtbot, described("virtual_image")["parameters"])
    editor = rows(form)["detector"].editor
    rows(form)["detector.radius"].editor.spin.setValue(7)
    for number in (1, 0):
        editor.box.setCurrentIndex(number)
        editor.box.activated.emit(number)
    assert form.value()["detector"]["radius"]["value"] == 7


def test_numbers_are_typed_slid_and_bounded(qtbot):
    _, form = form_for(qtbot, described("gaussian_filter")["parameters"])
    (row,) = form.members
    heard = []
    form.changed.connect(lambda: heard.append(row.value()))
    row.editor.spin.selectAll()
    qtbot.keyClicks(row.editor.spin, "2,5")
    assert heard[-1] == 2.5
    qtbot.keyClick(row.editor.slider, QtCore.Qt.Key_Right)
    assert 2.5 < row.value() < 2.7
    row.editor.slider.setValue(row.editor.slider.maximum())
    assert row.value() == 90, "as far as the frame is wide"
    row.editor.spin.selectAll()
    qtbot.keyClicks(row.editor.spin, "900")
    assert row.value() <= 200
    qtbot.keyClicks(row.editor.spin, "x")
    assert "x" not in row.editor.spin.text()


def test_lists_grow_and_shrink_within_their_bounds(qtbot):
    _, form = form_for(qtbot, EVERYTHING)
    editor = rows(form)["many"].editor
    editor.more.click()
    assert editor.value() == [1.0, 2.0, 1.0]
    assert not editor.more.isEnabled()
    for _ in range(2):
        editor.less.click()
    assert editor.value() == [1.0]
    assert not editor.less.isEnabled()


def test_parameters_that_are_nodes_offer_those_that_fit(qtbot):
    wanted = {"navigation": "same", "signal": [2]}
    other_scan = node(PATTERN, "cropped", scan=(Axis("x", 3, navigate=True),))
    mean = node(PATTERN, "mean", scan=())
    broken = node(PATTERN, "broken", error="no")
    there = [node(PATTERN), node(ENERGY, "spectra"), other_scan, mean, broken]
    assert [found.name for found in fitting(wanted, node(PATTERN), there)] == ["root"]
    assert not fitting({"navigation": "same", "signal": [0]}, node(PATTERN), there)
    assert [found.name for found in fitting({"navigation": "none"}, node(PATTERN), there)] == ["mean"]
    _, form = form_for(qtbot, EVERYTHING)
    row = rows(form)["shifts"]
    box = row.editor.box
    assert row.value() is None
    assert [box.itemText(n) for n in range(box.count())] == ["other"]
    box.setCurrentIndex(0)
    assert row.value() == {"node": "other"}
    row.editor.show_value({"node": "/elsewhere/scan/signal/root"})
    assert row.value() == {"node": "/elsewhere/scan/signal/root"}
    assert box.currentText() == "/elsewhere/scan/signal/root"


def test_nodes_of_other_scans_go_by_their_paths_and_can_be_written(qtbot):
    there = [node(PATTERN, "mean", scan=()), Node(("day 2", "scan", "mean"), "0b", PATTERN, "<u2", (60, 90))]
    editor = NodeEditor(("scan",), fitting({"navigation": "none", "signal": [2]}, node(PATTERN), there))
    qtbot.addWidget(editor.box)
    assert editor.value() is None
    assert [editor.box.itemText(n) for n in range(2)] == ["mean", "/day 2/scan/mean"]
    editor.box.setCurrentIndex(1)
    assert editor.value() == {"node": "/day 2/scan/mean"}
    told = []
    editor.changed.connect(lambda: told.append(editor.value()))
    editor.line.setText("/day 3/scan/mean ")
    for _ in range(2):
        editor.line.editingFinished.emit()
    assert told == [{"node": "/day 3/scan/mean"}], "once, and not at every letter"


def test_a_slider_is_fine_where_a_person_looks():
    sigma = reach_of(form_of(described("gaussian_filter")["parameters"]).parts[0])
    assert sigma.at(0) == 0
    assert sigma.at(sigma.steps) == 200
    assert 100 < sigma.step(1.0) < 250
    assert all(abs(sigma.step(sigma.at(step)) - step) <= 1 for step in range(50, sigma.steps))
    assert [Reach(0, 4, whole=True).at(step) for step in range(5)] == [0, 1, 2, 3, 4]
    factor = reach_of(form_of(described("bin")["parameters"]).parts[0], PATTERN[1])
    passed = [factor.at(step) for step in range(factor.steps + 1)]
    assert passed[:20] == list(range(1, 21)), "an arrow key is the next number"
    assert passed[-1] == 90, "no further than the frame is wide"
    assert [factor.step(value) for value in (1, 7, 500)] == [0, 6, factor.steps]
    assert reach_of(form_of(described("calibrate")["parameters"]).parts[1]) is None


def test_positions_begin_where_an_axis_does_and_ends():
    about = node(PATTERN)
    crop = form_of(described("crop")["parameters"]).parts[0]
    begin, end = crop.parts
    assert beginning(begin, ("x", "start"), about) == {"value": -4.5, "unit": "1/nm"}
    assert beginning(end, ("x", "stop"), about) == {"index": 90.0}
    assert axis_of(("y", "start"), about) is PATTERN[0]
    assert axis_of(("detector", "centre", "y"), about) is PATTERN[0]
    assert axis_of(("energy",), node(ENERGY)) is ENERGY[0]
    assert converted(Sort.POSITION, 1.5, "1/nm", "px", PATTERN[1]) == pytest.approx(60)
    assert converted(Sort.DISTANCE, 20, "px", "1/nm", PATTERN[1]) == pytest.approx(2)
    assert told(Sort.POSITION, 3.0, "px") == {"index": 3.0}
    uneven = Axis("E", 3, units="eV", values=(1.0, 2.0, 5.0))
    assert units_of(Sort.DISTANCE, uneven) == ["px"]
    assert units_of(Sort.POSITION, Axis("E", 3)) == ["px"]
    assert reach_on(Sort.POSITION, "eV", uneven) == Reach(1.0, 5.0)


@pytest.mark.parametrize(
    ("value", "words"),
    [({"index": 3}, "3 px"), ({"value": 1.5, "unit": "nm"}, "1.5, nm"), (True, "yes"), ([1, 2], "1, 2")],
)
def test_values_in_a_few_words(value, words):
    assert brief(value) == words


def test_rows_have_tool_tips(qtbot):
    _, form = form_for(qtbot, described("subtract_background")["parameters"])
    assert isinstance(form.members[0], Row)
    assert form.members[0].toolTip() == "Narrow gaussian: about a disk's size"
