"""Playing with parameters in the window: every change is shown under the crosshair before anything is kept."""

import numpy as np
import pytest
from derive_service import DATA, deriving
from pyqtgraph.Qt import QtWidgets
from viewer_service import QtCore, choose, drag, opened, painted, place, settle, shown

ROOT = ("signal", "root")
Key = QtCore.Qt.Key


@pytest.fixture
def server():
    server = deriving().start()
    yield server
    server.stop()


@pytest.fixture
def window(qtbot, server):
    with opened(qtbot, server.url) as window:
        choose(qtbot, window, *ROOT)
        qtbot.waitUntil(window.toolbar.play.isEnabled)
        yield window


@pytest.fixture
def form(qtbot, window):
    """The form, open for the root, with the first preview painted."""
    window.toolbar.play.click()
    pick(window, "multiply")
    qtbot.waitUntil(lambda: previewed(window, "multiply"))
    return window.parameters


def pick(window, operation):
    box = window.parameters.operation
    box.setCurrentIndex(box.findData(operation))
    box.activated.emit(box.currentIndex())


def previewed(window, operation, **parameters):
    """Whether exactly this is painted, at the crosshair."""
    node = window.session.state.node
    return (
        node.is_preview
        and node.operations[-1] == operation
        and node.own_parameters == parameters
        and not window.playground.playing.waiting
        and shown(window)
    )


def set_factor(form, value):
    form.row("factor").editor.spin.setValue(value)


def is_painted(window, raw):
    return np.array_equal(window.signal.picture.raw, np.asarray(raw, "f4"))


def test_the_preview_of_the_present_parameters_is_under_the_crosshair(qtbot, window, form):
    assert window.signal.badge.isVisible()
    settle(qtbot, window, (2, 3))
    assert is_painted(window, DATA[2, 3])
    slider = form.row("factor").editor.slider
    press = slider.mapFromGlobal(slider.mapToGlobal(QtCore.QPoint(slider.width() // 5, slider.height() // 2)))
    drag(slider, press, press + QtCore.QPoint(slider.width() // 3, 0))
    factor = form.values()["factor"]
    assert factor > 1
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=factor))
    assert is_painted(window, DATA[2, 3] * factor)


def test_each_change_is_one_round_trip_and_what_is_known_none(qtbot, server, window, form):
    set_factor(form, 2.0)
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=2.0))
    server.traffic.requests.clear()
    set_factor(form, 3.0)
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=3.0))
    derived = [url for url in server.traffic.requests if "/derive/" in url]
    assert len(derived) == 1, "a slice says what it is a slice of"
    assert "slice=" in derived[0]
    assert not server.traffic.data(), "the frame came with the preview"
    server.traffic.requests.clear()
    set_factor(form, 2.0)
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=2.0))
    assert is_painted(window, DATA[window.session.state.position] * 2)
    assert not [url for url in server.traffic.requests if "slice=" in url or "/zarr/" in url]


def test_the_crosshair_moves_over_a_preview_as_over_any_node(qtbot, server, window, form):
    set_factor(form, 2.0)
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=2.0))
    view = window.navigator.image
    server.traffic.requests.clear()
    drag(view, place(view, 2, 3), place(view, 4, 1))
    settle(qtbot, window, (4, 1))
    assert is_painted(window, DATA[4, 1] * 2)
    assert all("/preview@" in url for url in server.traffic.data())
    assert not [url for url in server.traffic.requests if "slice=" in url and "/derive/" in url]


def test_outdated_parameters_are_cancelled_and_the_newest_win(qtbot, server, window, form):
    server.traffic.held.add("%22factor%22%3A7.0%7D")
    server.traffic.held.add('"factor":7.0}')
    set_factor(form, 7.0)
    qtbot.waitUntil(lambda: any("7.0" in url for url in server.traffic.requests))
    assert window.playground.playing.waiting
    set_factor(form, 3.0)
    qtbot.waitUntil(lambda: any("slice=" in url for url in server.traffic.left))
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=3.0))
    assert is_painted(window, DATA[window.session.state.position] * 3)


def test_contrast_and_zoom_stay_while_parameters_change(qtbot, window, form):
    levels = window._levels
    region = window.signal.image.region()
    before = painted(window.signal.image, 1, 2)
    set_factor(form, 1.02)
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=1.02))
    assert window._levels == levels
    assert window.signal.image.region() == region
    assert painted(window.signal.image, 1, 2) != before, "brighter on the same scale"


def test_levels_follow_a_preview_whose_numbers_lie_elsewhere_once(qtbot, window, form):
    before = window._levels
    set_factor(form, 40.0)
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=40.0))
    found = window._levels
    assert found == window.signal.picture.automatic != before, "not one white field"
    set_factor(form, 39.5)
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=39.5))
    assert window._levels == found, "a slider makes nothing flicker"
    window.session.move_to((0, 0))
    settle(qtbot, window, (0, 0))
    assert window._levels == found, "nor does the crosshair"
    form.keep.click()
    qtbot.waitUntil(lambda: window.session.state.node.path == ("signal", "multiply") and shown(window))
    assert window._levels == found, "nor does keeping"


def test_levels_chosen_by_hand_stay_while_parameters_change(qtbot, window, form):
    window.signal_contrast.histogram.dragged.emit((1.0, 2.0))
    set_factor(form, 1.02)
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=1.02))
    assert window._levels == (1.0, 2.0)


def test_a_preview_of_another_shape_is_asked_for_anew(qtbot, window, form):
    pick(window, "columns")
    qtbot.waitUntil(lambda: previewed(window, "columns"))
    form.row("first").editor.spin.setValue(4)
    qtbot.waitUntil(lambda: previewed(window, "columns", first=4))
    assert is_painted(window, DATA[window.session.state.position][:, 4:])
    assert window.session.state.node.axes[-1].offset == pytest.approx(0.0)
    pick(window, "total")
    qtbot.waitUntil(lambda: previewed(window, "total"))
    form.row("scale").editor.spin.setValue(2)
    qtbot.waitUntil(lambda: previewed(window, "total", scale=2.0))
    assert is_painted(window, DATA.sum((2, 3)) * 2)


@pytest.mark.parametrize("told", [True, False])
def test_axes_that_follow_a_parameter_come_with_the_picture(qtbot, server, window, form, told):
    def scale():
        return window.session.state.node.axes[-1].scale

    server.workshop.tells_structure = told  # those that do not fit into a header are asked for
    pick(window, "rename")
    qtbot.waitUntil(lambda: previewed(window, "rename"))
    for wanted in (0.5, 2.0):
        server.traffic.requests.clear()
        form.row("scale").editor.spin.setValue(wanted)
        qtbot.waitUntil(lambda wanted=wanted: previewed(window, "rename", scale=wanted))
        assert scale() == window.signal.image.axes[1].scale == wanted, "never the axes of other parameters"
        derived = [url for url in server.traffic.requests if "/derive/" in url]
        assert ["slice=" in url for url in derived] == ([True] if told else [True, False])


def test_parameters_too_long_for_an_address_are_sent_as_json(qtbot, server, window, form):
    pick(window, "note")
    qtbot.waitUntil(lambda: previewed(window, "note"))
    text = "mask " * 2000
    form.row("text").editor.line.setText(text)
    form.row("text").editor.changed.emit()
    qtbot.waitUntil(lambda: previewed(window, "note", text=text))
    assert ("at length", {}) in server.workshop.asked
    assert is_painted(window, DATA[window.session.state.position])


def test_keeping_names_shows_and_computes_nothing(qtbot, server, window, form):
    set_factor(form, 2.0)
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=2.0))
    assert form.name.placeholderText() == "multiply"
    derived = server.workshop.asked.count(("derive", {"factor": 2.0}))
    form.name.setFocus()
    qtbot.keyClicks(form.name, "twice")
    qtbot.keyClick(form.name, Key.Key_Return)
    qtbot.waitUntil(lambda: window.session.state.node.path == ("signal", "twice") and shown(window))
    assert ("make", {"parent": "root", "operation": "multiply", "parameters": {"factor": 2.0}, "name": "twice"}) in (
        server.workshop.asked
    )  # fmt: skip
    assert server.workshop.asked.count(("derive", {"factor": 2.0})) == derived
    assert not form.isVisible()
    assert not window.signal.badge.isVisible()
    qtbot.waitUntil(lambda: window.tree.list.currentItem() is window.tree.items.get(("signal", "twice")))
    assert is_painted(window, DATA[window.session.state.position] * 2)


def test_a_name_that_is_taken_is_said_and_nothing_is_lost(qtbot, server, window, form):
    server.workshop.taken.add("twice")
    set_factor(form, 2.0)
    form.name.setText("twice")
    form.keep.click()
    qtbot.waitUntil(lambda: form.trouble.isVisible() and "already" in form.trouble.text())
    assert form.values()["factor"] == 2.0
    assert form.keep.isEnabled()
    form.name.setText("double")
    form.keep.click()
    qtbot.waitUntil(lambda: window.session.state.node.name == "double")


@pytest.mark.parametrize("how", ["escape", "button"])
def test_discarding_goes_back_to_the_node(qtbot, window, form, how):
    set_factor(form, 2.0)
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=2.0))
    if how == "escape":
        qtbot.keyClick(form.row("factor").editor.spin, Key.Key_Escape)
    else:
        form.discard.click()
    qtbot.waitUntil(lambda: window.session.state.node.path == ROOT and shown(window))
    assert is_painted(window, DATA[window.session.state.position])
    assert not form.isVisible()
    window.toolbar.play.click()
    assert form.values()["factor"] == 2.0, "what was told is still there"


def test_what_is_refused_stands_at_its_field_and_the_last_preview_stays(qtbot, window, form):
    row = form.row("factor")
    set_factor(form, 60.0)
    qtbot.waitUntil(row.problem.isVisible)
    assert "too much" in row.problem.text()
    assert not window.banner.isVisible()
    assert is_painted(window, DATA[window.session.state.position])
    set_factor(form, 5.0)
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=5.0))
    assert not row.problem.isVisible()


def test_a_preview_that_takes_its_time_is_waited_for_in_words(qtbot, server, window, form):
    badge = window.signal.badge
    server.traffic.held.add("/preview@")  # a mean over a scan, say: what it is is known, its numbers are not
    pick(window, "columns")
    qtbot.waitUntil(lambda: badge.text() == "waiting …")
    pick(window, "multiply")
    qtbot.waitUntil(lambda: previewed(window, "multiply"))
    assert badge.text() == "preview"
    server.traffic.held.add("/halved@")
    window.session.show(("signal", "halved"))
    qtbot.waitUntil(lambda: badge.isVisible() and badge.text() == "waiting …")
    choose(qtbot, window, *ROOT)
    assert not badge.isVisible()


def test_what_is_out_of_bounds_is_not_asked_for(qtbot, server, form):
    server.workshop.asked.clear()
    set_factor(form, 0.0)
    assert form.row("factor").problem.text() == "must be more than 0"
    qtbot.keyClick(form.row("factor").editor.spin, Key.Key_Return)
    assert not form.keep.isEnabled(), "or what was tried before would be kept"
    assert not server.workshop.asked
    set_factor(form, 2.0)
    assert form.keep.isEnabled()


def test_an_operation_that_wants_more_before_it_can_be_tried_shows_no_preview_of_another(qtbot, window, form):
    pick(window, "minus")
    qtbot.waitUntil(lambda: window.session.state.node.path == ROOT and shown(window))
    assert form.row("other").problem.text() == "choose a node"
    assert not window.signal.badge.isVisible()
    assert not form.keep.isEnabled()
    pick(window, "multiply")
    qtbot.waitUntil(lambda: previewed(window, "multiply"))


def test_reset_shows_the_defaults_again(qtbot, window, form):
    set_factor(form, 5.0)
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=5.0))
    form.row("factor").reset.click()
    qtbot.waitUntil(lambda: previewed(window, "multiply"))
    form.row("clip").editor.box.click()
    form.reset.click()
    assert form.values() == {"factor": 1.0, "clip": False}


def test_space_compares_and_switches(qtbot, window, form):
    window.signal.view.setFocus()
    qtbot.keyClick(window, Key.Key_Space)
    qtbot.waitUntil(lambda: window.session.state.node.path == ROOT and shown(window))
    assert form.isVisible()
    qtbot.keyClick(window, Key.Key_Space)
    qtbot.waitUntil(lambda: previewed(window, "multiply"))
    box = form.row("clip").editor.box
    box.setFocus()
    qtbot.keyClick(box, Key.Key_Space)
    assert form.values()["clip"] is True, "in the form it is a key like others"
    assert window.session.state.node.is_preview


def test_the_keyboard_goes_through_the_form_in_order(qtbot, window, form):
    factor, clip = form.row("factor").editor, form.row("clip").editor.box
    form.operation.setFocus()
    order = []
    for _ in range(8):
        order.append(form.focusWidget())
        qtbot.keyClick(form.focusWidget(), Key.Key_Tab)
    buttons = [button for button in (form.reset, form.discard, form.keep) if button.isEnabled()]
    wanted = [form.operation, factor.slider, factor.spin, clip, form.name, *buttons]
    assert order[: len(wanted)] == wanted
    position = window.session.state.position
    qtbot.keyClick(clip, Key.Key_Down)
    assert window.session.state.position == position, "an arrow key in a form moves no crosshair"


def test_another_node_ends_it(qtbot, window, form):
    choose(qtbot, window, "signal", "halved")
    assert not form.isVisible()
    assert not window.playground.playing.active


def test_a_busy_service_is_asked_again(qtbot, server, window, form):
    server.traffic.refusals["/derive/"] = (503, "computing")
    set_factor(form, 2.0)
    qtbot.waitUntil(
        lambda: len([url for url in server.traffic.requests if "2.0" in url and "slice=" in url]) > 1
    )
    server.traffic.refusals.clear()
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=2.0))


def test_a_preview_that_the_service_forgot_is_derived_again(qtbot, server, window, form):
    server.workshop.previews.clear()
    window.session.move_to((0, 0))
    settle(qtbot, window, (0, 0))
    assert window.session.state.node.is_preview
    assert is_painted(window, DATA[0, 0])


def test_who_may_make_nothing_may_still_look(qtbot, server, window):
    server.traffic.refusals["/nodes/"] = (403, "read only")
    window.session.maker._reasons.clear()
    window.session.maker.look_at(("signal",))
    window.toolbar.play.click()
    qtbot.waitUntil(lambda: previewed(window, "multiply"))
    qtbot.waitUntil(lambda: not window.parameters.keep.isEnabled())
    assert "look" in window.parameters.keep.toolTip()


def test_the_form_is_asked_for_from_the_list_too(qtbot, window):
    window.tree.make_asked.emit(("signal", "halved"))
    qtbot.waitUntil(lambda: previewed(window, "multiply"))
    assert "halved" in window.parameters.title.text()
    assert isinstance(window.parameters, QtWidgets.QFrame)
