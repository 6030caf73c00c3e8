"""Ticks beside pictures and curves, and what is drawn over a picture only."""

import pytest
from pyqtgraph.Qt import QtCore

from viewer.nodes import Axis
from viewer.panels.axes import CalibratedAxis, IntensityAxis
from viewer.panels.image import ImageView
from viewer.picture import Scale, Stretch


@pytest.mark.parametrize("axis", [Axis("x", 40, 0.5, -10.0, "nm"), Axis("x", 40)])
@pytest.mark.parametrize("ends", [(-30.0, 80.0), (80.0, -30.0)])
def test_ticks_are_beside_the_picture_only(qtbot, axis, ends):
    ticks = CalibratedAxis("bottom")
    ticks.set_axis(axis)
    places = [place for _, level in ticks.tickValues(*ends, 600) for place in level]
    assert len(places) >= 3
    assert min(places) >= -0.5
    assert max(places) <= 39.5
    assert ticks.tickValues(50.0, 80.0, 600) == [], "the picture is off the screen"


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (3.0, ["0", "1", "2"]),
        (40.0, ["0", "1", "2", "5", "10", "20"]),
        (2000.0, ["0", "1", "10", "100", "1000"]),
    ],
)
def test_ticks_of_a_logarithm_begin_where_it_does(qtbot, top, expected):
    """Below one count the scale is linear: 0.1, 0.01 and 0.001 would be written over zero."""
    stretch, ticks = Stretch(Scale.LOG, 1.0), IntensityAxis("left")
    ticks.set_stretch(stretch)
    ((_, values),) = ticks.tickValues(-0.1, stretch.forward(top), 600)
    assert ticks.tickStrings(values, 1.0, 1.0) == expected


def test_large_intensities_have_the_digits_that_tell_their_ticks_apart(qtbot):
    ticks = IntensityAxis("left")
    written = ticks.tickStrings([-1.81e9, -1.8101e9, -1.8102e9], 1.0, 1e5)
    assert written == ["-1.8100×10⁹", "-1.8101×10⁹", "-1.8102×10⁹"]


def test_the_crosshair_ends_where_the_picture_does(qtbot):
    view = ImageView(with_axes=False)
    qtbot.addWidget(view)
    view.resize(200, 400)
    view.show()
    view.set_axes((Axis("y", 10), Axis("x", 10)))
    view.fit()
    view.crosshair.show()
    view.crosshair.move_to(5, 5)
    painted = view.grab().toImage()

    def colour(row: float) -> str:
        place = view.mapFromScene(view.box.mapViewToScene(QtCore.QPointF(5, row)))
        return painted.pixelColor(place).name()

    assert colour(1.0) != colour(-4.0)
    assert colour(-4.0) == painted.pixelColor(2, 2).name()


def test_all_of_a_picture_is_shown_in_a_narrow_view(qtbot):
    view = ImageView(with_axes=False)
    qtbot.addWidget(view)
    view.set_axes((Axis("ky", 8), Axis("kx", 8)))
    view.resize(90, 720)
    view.show()
    view.fit()
    region = view.region()
    assert region.x0 <= -0.5
    assert region.x1 >= 7.5
