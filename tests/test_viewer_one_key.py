"""An open picture never mixes two recipes: navigator, frame and histogram are of one key, or empty."""

import numpy as np
from viewer_service import diffraction_scan, shown

OFFSET = 20000


def change(scan_service, number):
    """The file has changed: other counts, under another key."""
    scan_service.tree._mapping["signal"] = diffraction_scan(key=f"0{number}", offset=OFFSET * (number % 2))


def parts(window):
    """Of which file each part of the window is, by its counts: 0 or 1."""
    signal, navigator = window.signal.picture, window.navigator.image.picture
    histogram = window.signal_contrast.histogram._picture
    below = window.navigator_contrast.histogram._picture
    frames = {int(p.raw.min() >= OFFSET) for p in (signal, histogram) if p is not None}
    return frames | {int(p.raw.min() >= 54 * OFFSET) for p in (navigator, below) if p is not None}


def test_all_parts_change_in_one_step(qtbot, window, scan_service):
    session, seen = window.session, []
    for said in (session.chosen, session.framed, session.navigated, session.moved):
        said.connect(lambda *_: seen.append(parts(window)))  # after the window heard of it
    for number in (1, 2, 3):
        change(scan_service, number)
        session.move_to((number, 6))
        qtbot.waitUntil(
            lambda key=f"0{number}": (
                session.state.node.key == key
                and shown(window)
                and window.signal.node.key == window.navigator.node.key == key
            )
        )
        qtbot.waitUntil(lambda number=number: parts(window) == {number % 2})
    assert {frozenset(found) for found in seen} <= {frozenset(), frozenset({0}), frozenset({1})}
    assert {1} in seen
    assert {0} in seen


def test_a_file_that_changes_between_two_answers(qtbot, window, scan_service):
    """The frame of the old key has come, the navigator's next level is of the new one: 410, and all of it anew."""
    session = window.session
    changed = []

    def between(_answer):
        if not changed:
            changed.append(True)
            change(scan_service, 1)

    session.framed.connect(between)
    session.move_to((4, 6))
    qtbot.waitUntil(lambda: bool(changed))
    session.move_to((0, 0))
    qtbot.waitUntil(lambda: session.state.node.key == "01" and shown(window))
    expected = np.arange(54).reshape(6, 9) + OFFSET
    np.testing.assert_array_equal(window.signal.picture.raw, expected)
    qtbot.waitUntil(lambda: parts(window) == {1})
