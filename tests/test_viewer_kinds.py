"""Each kind of signal as it is drawn: maps, spectra, series, stacks of scans, images large and small."""

import numpy as np
import pytest
from pyqtgraph.Qt import QtCore
from viewer_service import choose, encoded, opened, place, press, settle

from viewer.picture import prepare
from viewer.session import Session
from viewer.tour.hand import drag
from viewer.view_state import Region
from viewer.window import Window
from viewer.wire import Service

SCAN = encoded(5, 7, 6, 9)
ROOT = ("scan.hspy", "signal", "root")
Key = QtCore.Qt.Key


@pytest.fixture
def window(qtbot, stand_in):
    stand_in.traffic.requests.clear()
    with opened(qtbot, stand_in.url) as window:
        choose(qtbot, window, *ROOT)
        yield window


def test_a_map_is_shown_whole_with_the_crosshair_and_its_value(qtbot, window):
    choose(qtbot, window, "scan.hspy", "signal", "centre")
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[:, :, 3, 4])
    assert window.signal.image.crosshair.isVisible()
    assert f"{SCAN[2, 3, 3, 4]}" in window.signal.title.text()
    view = window.signal.image
    drag(view, place(view, 2, 3), place(view, 0, 1))
    settle(qtbot, window, (0, 1))
    assert f"· {SCAN[0, 1, 3, 4]}" in window.signal.title.text()
    choose(qtbot, window, *ROOT)
    assert window.session.state.position == (0, 1)
    assert not window.signal.image.crosshair.isVisible()


def test_spectra_are_curves_in_units(qtbot, window):
    choose(qtbot, window, "spectra.hspy", "signal", "root")
    assert window.signal.view is window.signal.curve
    x, y = window.signal.curve.curve.getData()
    np.testing.assert_array_equal(y, encoded(5, 23, 50)[2, 11])
    assert x[0] == pytest.approx(1.0)
    assert x[-1] == pytest.approx(1.0 + 49 * 0.1)
    assert "Energy (keV)" in window.signal.curve.getPlotItem().getAxis("bottom").labelText
    press(window.navigator.image, 4, 22)
    settle(qtbot, window, (4, 22))
    np.testing.assert_array_equal(window.signal.curve.curve.getData()[1], encoded(5, 23, 50)[4, 22])


def test_neighbours_in_a_row_come_with_one_chunk(qtbot, window, stand_in):
    choose(qtbot, window, "spectra.hspy", "signal", "root")
    press(window.navigator.image, 1, 8)
    settle(qtbot, window, (1, 8))
    asked = len([url for url in stand_in.traffic.data() if "/spectra.hspy/signal/root@0a/c/1/1/0" in url])
    for column in (9, 10, 15):
        press(window.navigator.image, 1, column)
        settle(qtbot, window, (1, column))
    again = len([url for url in stand_in.traffic.data() if "/spectra.hspy/signal/root@0a/c/1/1/0" in url])
    assert asked == again == 1


def test_a_series_is_pointed_into_along_a_curve(qtbot, window):
    choose(qtbot, window, "folder", "series.mrc", "signal", "root")
    series = encoded(11, 8, 9, dtype="f4")
    assert window.navigator.view is window.navigator.curve
    assert window.session.state.position == (5,)
    np.testing.assert_array_equal(window.signal.picture.raw[1:], series[5, 1:])
    assert np.isnan(window.signal.picture.raw[0, 0])
    curve = window.navigator.curve
    y = curve.crosshair.place.y()
    drag(curve, place(curve, y, 5 * 0.5), place(curve, y, 9 * 0.5))
    settle(qtbot, window, (9,))
    np.testing.assert_array_equal(window.signal.picture.raw[1:], series[9, 1:])
    qtbot.keyClick(window.signal.view, Key.Key_Left)
    settle(qtbot, window, (8,))


def test_a_third_navigation_axis_has_a_slider(qtbot, window):
    choose(qtbot, window, "folder", "depth.zspy", "signal", "root")
    planes = encoded(3, 4, 5, 6, 7)
    assert list(window.navigator.sliders) == [0]
    np.testing.assert_array_equal(window.signal.picture.raw, planes[1, 2, 2])
    window.navigator.sliders[0].slider.setValue(2)
    settle(qtbot, window, (2, 2, 2))
    np.testing.assert_array_equal(window.signal.picture.raw, planes[2, 2, 2])
    np.testing.assert_array_equal(window.navigator.image.picture.raw, planes.sum((3, 4))[2])
    press(window.navigator.image, 3, 4)
    settle(qtbot, window, (2, 3, 4))
    qtbot.keyClick(window, Key.Key_PageUp)
    settle(qtbot, window, (1, 3, 4))


@pytest.mark.parametrize("path", [("image.mrc", "signal", "root"), ("spectrum.dm3", "signal", "root")])
def test_without_navigation_axes_there_is_no_navigator(qtbot, window, path):
    choose(qtbot, window, *path)
    assert not window.navigator.isVisible()
    choose(qtbot, window, *ROOT)
    assert window.navigator.isVisible()


def test_a_large_image_comes_strided_and_refines_what_is_visible(qtbot, window, stand_in):
    choose(qtbot, window, "image.mrc", "signal", "root")
    array, view = encoded(1500, 2600), window.signal.image
    np.testing.assert_array_equal(view.overview.image, array[::4, ::4])

    def covered():
        return view.detail.mapRectToView(view.detail.boundingRect())

    def finest():
        return view.detail.image is not None and covered().width() == view.detail.image.shape[1]

    view.show_region(Region(700, 900, 1000, 1300))
    qtbot.waitUntil(finest)
    row, column = round(covered().top() + 0.5), round(covered().left() + 0.5)
    assert row <= 700
    assert column <= 1000
    rows, columns = view.detail.image.shape
    assert rows * columns < array.size / 5
    np.testing.assert_array_equal(view.detail.image, array[row : row + rows, column : column + columns])
    assert not any(url.endswith("slice=:,:") for url in stand_in.traffic.data())


def test_a_sample_of_a_strided_image_is_painted_where_it_is(qtbot, window):
    """Refining must not shift the image: each sample is the centre of the square it stands for."""
    choose(qtbot, window, "image.mrc", "signal", "root")
    item = window.signal.image.overview
    centre = item.mapToView(QtCore.QPointF(10.5, 20.5))
    assert (centre.x(), centre.y()) == (40, 80)


def test_the_map_of_a_series_is_a_curve_to_point_into(qtbot, window):
    choose(qtbot, window, "folder", "series.mrc", "signal", "navigator")
    curve, sums = window.signal.curve, np.nansum(window.signal.picture.raw)
    assert window.signal.view is curve
    assert curve.crosshair.isVisible()
    assert sums > 0
    y = curve.crosshair.place.y()
    drag(curve, place(curve, y, 5 * 0.5), place(curve, y, 2 * 0.5))
    settle(qtbot, window, (2,))
    assert f"{int(window.signal.picture.raw[2])}" in window.signal.title.text()


def test_signals_of_one_file_stand_below_it(qtbot, window):
    choose(qtbot, window, "two.emd", "image", "root")
    file = window.tree.items["two.emd",]
    assert file.text(0) == "two.emd"
    assert [file.child(n).text(0) for n in range(file.childCount())] == ["image", "cube"]
    np.testing.assert_array_equal(window.signal.picture.raw, encoded(6, 8))
    window.tree.list.itemClicked.emit(file, 0)
    assert not file.isExpanded()
    window.session.relist()
    qtbot.wait(300)
    assert not window.tree.items["two.emd",].isExpanded(), "what was folded stays folded"


def test_more_signal_axes_than_a_screen_has_get_sliders(qtbot, window):
    choose(qtbot, window, "two.emd", "cube", "root")
    assert list(window.navigator.sliders) == [0, 1]
    assert not window.navigator.view.isVisible()
    assert window.navigator.width() <= 320 < window.signal.width(), "the picture has the room"
    window.navigator.sliders[0].slider.setValue(0)
    window.navigator.sliders[1].slider.setValue(2)
    settle(qtbot, window, (0, 2))
    np.testing.assert_array_equal(window.signal.picture.raw, encoded(2, 3, 4, 5)[0, 2])


def test_a_spectrum_is_read_out_under_the_mouse(qtbot, window):
    choose(qtbot, window, "spectra.hspy", "signal", "root")
    curve = window.signal.curve
    middle = sum(curve.box.viewRange()[1]) / 2
    curve.scene().sigMouseMoved.emit(curve.box.mapViewToScene(QtCore.QPointF(1.0 + 7 * 0.1, middle)))
    value = encoded(5, 23, 50)[2, 11, 7]
    assert window.status.mouse.text() == f"(7) · Energy 1.7 keV · I {value}"


def test_an_uncalibrated_image_says_so(qtbot, window):
    choose(qtbot, window, "folder", "series.mrc", "signal", "root")
    assert "uncalibrated" in window.signal.image.getPlotItem().getAxis("bottom").labelText
    assert window.signal.image.scale_bar.measure()[0].endswith(" px")


def test_a_large_image_is_read_out_as_it_is_painted(qtbot, window):
    """Index and intensity are those of the sample on the screen, strided or in detail."""
    choose(qtbot, window, "image.mrc", "signal", "root")
    array, view = encoded(1500, 2600), window.signal.image
    assert view.value_at(1043.0, 801.0) == (800, 1044, array[800, 1044])
    view.show_region(Region(790, 810, 1040, 1060))
    qtbot.waitUntil(lambda: view.value_at(1043.0, 801.0) == (801, 1043, array[801, 1043]))
    row, column, value = view.value_at(5.0, 1400.0)
    assert (row, column) == (1400, 4), "beside the detail the overview is read"
    assert value == array[1400, 4]


def test_what_was_under_the_mouse_is_forgotten_with_its_node(qtbot, window):
    image = window.signal.image
    image.scene().sigMouseMoved.emit(image.box.mapViewToScene(QtCore.QPointF(7, 2)))
    assert "I " in window.status.mouse.text()
    choose(qtbot, window, "spectra.hspy", "signal", "root")
    assert window.status.mouse.text() == ""


def test_the_curve_of_negative_sums_is_filled_from_below(qtbot, window):
    choose(qtbot, window, "folder", "series.mrc", "signal", "root")
    curve = window.navigator.curve
    picture = prepare(-1000.0 - np.arange(11.0))
    curve.paint_picture(picture, picture.limits)
    assert curve.curve.opts["fillLevel"] == pytest.approx(picture.limits[0])


def test_files_are_listed_in_order_readable_or_not(window):
    rows = window.tree.list
    names = [rows.topLevelItem(row).text(0) for row in range(rows.topLevelItemCount())]
    assert names == sorted(names)
    assert "broken.mrc" in names


def test_without_a_service_there_is_nothing_to_point_into(qtbot, stand_in):
    window = Window(Session(Service(stand_in.url)))
    qtbot.addWidget(window)
    assert not window.navigator.image.crosshair.isVisible()
    window.show()
    assert not window.navigator.image.crosshair.isVisible()
    window.close()
