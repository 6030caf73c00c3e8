"""Where panels stand, and scale bars: pictures get the room, and are not covered where there is some beside them."""

import pytest
from pyqtgraph.Qt import QtCore
from viewer_service import choose, opened

from viewer.view_state import Region

TREE = ("scan.hspy", "signal")
Orientation = QtCore.Qt.Orientation


@pytest.fixture
def window(qtbot, stand_in):
    stand_in.traffic.delays.clear()
    stand_in.traffic.refusals.clear()
    with opened(qtbot, stand_in.url) as window:
        choose(qtbot, window, *TREE, "root")
        yield window


def share(window):
    """Part of the room that the navigator has."""
    sizes = window.desk.pictures.sizes()
    return sizes[0] / sum(sizes)


def test_pictures_stand_below_each_other_in_an_upright_window(qtbot, window):
    pictures = window.desk.pictures
    assert pictures.orientation() == Orientation.Horizontal
    window.resize(1000, 1400)
    qtbot.waitUntil(lambda: pictures.orientation() == Orientation.Vertical)
    assert window.signal.y() > window.navigator.y() or window.comparing.stack.y() > window.navigator.y()
    window.resize(1600, 800)
    qtbot.waitUntil(lambda: pictures.orientation() == Orientation.Horizontal)


def test_several_have_more_room_than_one_and_what_a_person_chose_stays(qtbot, window):
    window.resize(1800, 900)
    alone = share(window)
    for name in ("root", "halved"):
        window.comparing.mark((*TREE, name))
    window.toolbar.compare.click()
    qtbot.waitUntil(lambda: share(window) < alone - 0.1)
    pictures = window.desk.pictures
    pictures.moveSplitter(pictures.width() // 2, 1)
    chosen = share(window)
    window.toolbar.compare.click()
    qtbot.waitUntil(lambda: share(window) == pytest.approx(alone, abs=0.02))
    for name in ("root", "halved"):
        window.comparing.mark((*TREE, name))
    window.toolbar.compare.click()
    qtbot.waitUntil(lambda: share(window) == pytest.approx(chosen, abs=0.02))


def test_the_scale_bar_covers_a_picture_only_where_there_is_no_room_beside_it(qtbot, window):
    view = window.navigator.image  # 7 wide and 5 high
    bar = view.scale_bar

    def picture():
        corners = (view.box.mapFromView(QtCore.QPointF(*corner)) for corner in ((-0.5, -0.5), (6.5, 4.5)))
        return QtCore.QRectF(*corners)

    view.resize(300, 600)
    view.fit()
    assert bar.boundingRect().top() >= picture().bottom()
    assert bar.boundingRect().left() == pytest.approx(picture().left(), abs=1)
    view.resize(900, 200)
    view.fit()
    assert bar.boundingRect().right() <= picture().left()
    view.show_region(Region(1.0, 2.0, 2.0, 3.0))
    room = QtCore.QRectF(0, 0, view.box.width(), view.box.height())
    assert room.contains(bar.boundingRect())
    text, length = bar.measure()
    assert float(text.split()[0]) > 0
    assert length < view.box.width() / 2
