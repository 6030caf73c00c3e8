"""What follows from a view: pure functions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.addresses import locate
from viewer.nodes import Axis, Kind, Node
from viewer.view_state import (
    FIRST_LOOK_POSITIONS,
    LARGE_IMAGE,
    Places,
    Region,
    Request,
    Span,
    ViewState,
    ahead_requests,
    carried_position,
    carried_region,
    centre,
    detail_request,
    first_stride,
    frame_request,
    map_request,
    next_stride,
    slice_text,
)


def make_node(navigation=(), signal=(), chunks=None, dtype="<u2", names=(), **more):
    axes = [Axis(f"n{i}", size, 2.0, 1.0, "nm", navigate=True) for i, size in enumerate(navigation)]
    axes += [Axis(f"s{i}", size) for i, size in enumerate(signal)]
    axes = [replace(axis, name=name) for axis, name in zip(axes, names, strict=True)] if names else axes
    shape = (*navigation, *signal)
    default = (*(1 for _ in navigation), *signal)
    return Node(
        ("scan", "tree", "root"), "0a", tuple(axes), np.dtype(dtype), chunks or default or shape, **more
    )


def test_a_frame_is_one_position_of_the_whole_signal():
    state = ViewState(make_node((5, 7), (6, 9)), (3, 4))
    request = frame_request(state)
    assert request.selection == (3, 4, Span(0, 6), Span(0, 9))
    assert request.shape == (6, 9)
    assert request.position == (3, 4)


def test_more_than_two_signal_axes_are_positions_too():
    node = make_node((), (2, 3, 4, 5))
    assert [axis.size for axis in node.position_axes] == [2, 3]
    assert frame_request(ViewState(node, (1, 2))).shape == (4, 5)


@pytest.mark.parametrize(
    ("navigation", "signal", "kind"),
    [
        ((4, 5), (), Kind.MAP),
        ((4,), (9,), Kind.CURVE),
        ((), (9,), Kind.CURVE),
        ((2, 3, 4), (5, 6), Kind.IMAGE),
    ],
)
def test_kind_follows_from_the_signal_axes(navigation, signal, kind):
    assert make_node(navigation, signal).kind is kind


def test_a_map_has_no_frame():
    assert frame_request(ViewState(make_node((4, 5), ()), (1, 1))) is None


@given(st.integers(1, 20000), st.integers(1, 20000))
def test_an_overview_has_no_more_samples_than_a_screen(rows, columns):
    request = frame_request(ViewState(make_node((), (rows, columns)), ()))
    assert max(request.shape) <= LARGE_IMAGE
    assert request.stride == 1 or max(rows, columns) > LARGE_IMAGE


@given(
    st.tuples(st.integers(1400, 9000), st.integers(1400, 9000)),
    st.tuples(*[st.floats(-500, 9500)] * 2),
    st.tuples(*[st.floats(1, 9000)] * 2),
    st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
)
def test_detail_covers_what_is_visible_at_screen_resolution(shape, corner, size, screen):
    visible = Region(corner[0], corner[0] + size[0], corner[1], corner[1] + size[1])
    state = ViewState(make_node((), shape), (), visible, screen)
    request = detail_request(state)
    per_pixel = min(size[0] / screen[0], size[1] / screen[1])
    if request is None:
        outside = visible.y0 >= shape[0] or visible.x0 >= shape[1] or visible.y1 < 0 or visible.x1 < 0
        assert outside or per_pixel >= frame_request(state).stride or min(shape) == 0
        return
    rows, columns = request.selection
    assert request.stride <= max(1, per_pixel)
    assert request.stride < frame_request(state).stride
    for span, low, high, length in (
        (rows, visible.y0, visible.y1, shape[0]),
        (columns, visible.x0, visible.x1, shape[1]),
    ):
        assert span.start <= max(0, low)
        assert span.start % span.step == 0
        assert span.stop == length or span.stop >= high


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=2))
def test_the_first_look_at_a_map_is_cheap(shape):
    stride = first_stride(shape)
    positions = np.prod([-(-size // stride) for size in shape])
    assert positions <= FIRST_LOOK_POSITIONS or stride == 16
    if stride > 1:
        assert np.prod([-(-size // (stride // 2)) for size in shape]) > FIRST_LOOK_POSITIONS


@given(st.sampled_from([2, 4, 8, 16]), st.floats(0, 100))
def test_maps_refine_until_they_are_complete(stride, seconds):
    levels = [stride]
    while levels[-1] > 1:
        levels.append(next_stride(levels[-1], seconds))
    assert levels == sorted(set(levels), reverse=True)


def test_levels_of_a_quick_map_are_skipped():
    assert next_stride(16, 0.0001) == 1
    assert next_stride(16, 10.0) == 8
    assert next_stride(8, 0.03) == 4
    with pytest.raises(ValueError, match="complete"):
        next_stride(1, 0.1)


def test_a_map_of_three_navigation_axes_is_one_plane():
    node = make_node((3, 40, 50), ())
    assert map_request(node, (2, 7, 8), 4).selection == (2, Span(0, 40, 4), Span(0, 50, 4))


def test_frames_ahead_are_those_inside_the_scan_in_their_order():
    node = make_node((5, 7), (6, 9))
    requests = ahead_requests(ViewState(node, (2, 5)), [(2, 6), (2, 7), (-1, 6), (1, 3)])
    assert [request.position for request in requests] == [(2, 6), (1, 3)]
    assert {request.shape for request in requests} == {(6, 9)}


axes = st.builds(
    Axis,
    st.just("x"),
    st.integers(1, 300),
    st.floats(-10, 10).filter(lambda scale: abs(scale) > 1e-3),
    st.floats(-100, 100),
    st.sampled_from([None, "nm", "µm"]),
)
edges = st.floats(-50, 350)


@given(axes, axes, edges, edges, edges, edges)
def test_zoom_does_not_creep_from_toggle_to_toggle(y, x, y0, y1, x0, x1):
    region = Region(y0, y1, x0, x1)
    assert carried_region(region, (y, x), (y, x)) == region


def test_zoom_follows_a_binned_node():
    full = Axis("x", 128, 0.1, 0.05, "nm")
    binned = Axis("x", 64, 0.2, 0.1, "nm")
    carried = carried_region(Region(0, 10, -0.5, 127.5), (full, full), (binned, binned))
    assert (carried.x0, carried.x1) == pytest.approx((-0.5, 63.5))
    uncalibrated = carried_region(Region(0, 10, -0.5, 63.5), (Axis("x", 64),) * 2, (Axis("x", 16),) * 2)
    assert uncalibrated.x1 == pytest.approx(15.5)


@given(st.lists(axes, min_size=1, max_size=3), st.lists(axes, min_size=0, max_size=3), st.data())
def test_a_position_stays_inside_every_scan(old, new, data):
    position = [data.draw(st.integers(0, axis.size - 1)) for axis in old]
    carried = carried_position(position, old, new)
    assert len(carried) == len(new)
    assert all(0 <= index < axis.size for index, axis in zip(carried, new, strict=True))
    assert carried_position(position, old, old) == tuple(position)


def test_a_place_is_remembered_through_a_node_without_a_scan():
    scan, mean = make_node((8, 9), (6, 6)), make_node((), (6, 6))
    places = Places()
    assert places.on(scan) == centre(scan.position_axes) == (4, 4)
    places.remember(ViewState(scan, (1, 2)))
    places.remember(ViewState(mean, ()))
    assert places.on(mean) == ()
    assert places.on(scan) == (1, 2)


def test_nodes_of_the_same_operations_are_one_family():
    root = make_node((3, 3), (4, 4))
    one = make_node((3, 3), (4, 4), parent="root", operations=("blur",), parameters=("sigma = 1",))
    two = make_node((3, 3), (4, 4), parent="root", operations=("blur",), parameters=("sigma = 2",))
    assert one.family == two.family != root.family


@st.composite
def slices_of_chunked_arrays(draw):
    shape = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    chunks = tuple(draw(st.integers(1, size)) for size in shape)
    selection = []
    for size in shape:
        start = draw(st.integers(0, size - 1))
        stop = draw(st.integers(start + 1, size))
        selection.append(draw(st.one_of(st.just(start), st.just(Span(start, stop, draw(st.integers(1, 3)))))))
    return tuple(shape), chunks, tuple(selection)


@given(slices_of_chunked_arrays())
def test_an_address_holds_its_slice(case):
    """Whatever address is chosen, the cut is the slice numpy would give, edge chunks included."""
    shape, chunks, selection = case
    array = np.arange(np.prod(shape)).reshape(shape)
    node = Node(("t", "n"), "0a", tuple(Axis(str(i), n) for i, n in enumerate(shape)), array.dtype, chunks)
    numpy_selection = tuple(slice(s.start, s.stop, s.step) if isinstance(s, Span) else s for s in selection)
    address, crop = locate(Request(node, selection))
    if address.url.startswith("/zarr/v3/t/n@0a/c/"):
        indices = [int(index) for index in address.url.rpartition("/c/")[2].split("/")]
        padded = np.pad(array, [(0, c) for c in chunks])
        came = padded[tuple(slice(i * c, (i + 1) * c) for i, c in zip(indices, chunks, strict=True))]
    else:
        text = address.url.partition("slice=")[2]
        came = eval(f"array[{text}]", {"array": array})  # noqa: S307 (numpy's own syntax is the point)
        assert slice_text(selection, node) == text
    assert came.shape == address.shape
    np.testing.assert_array_equal(came[crop], array[numpy_selection])


def test_a_stack_that_was_given_its_shape_shows_the_same_frame():
    stack, scan = make_node((77,), (3, 4)), make_node((7, 11), (3, 4))
    for frame in (0, 38, 76):
        there = carried_position((frame,), stack.axes[:1], scan.axes[:2])
        assert there[0] * 11 + there[1] == frame
        assert carried_position(there, scan.axes[:2], stack.axes[:1]) == (frame,)
    assert carried_position((5,), stack.axes[:1], make_node((4, 4), ()).axes) == (2, 2)


@pytest.mark.parametrize("dtype", ["<u1", "<u2"])
@pytest.mark.parametrize("colours", [3, 4])
def test_colours_are_part_of_every_pixel(dtype, colours):
    names = ("n", "y", "x", "colour")
    node = make_node((5,), (6, 9, colours), dtype=dtype, names=names)
    assert [axis.name for axis in node.shown_axes] == ["y", "x"]
    assert [axis.name for axis in node.position_axes] == ["n"]
    request = frame_request(ViewState(node, (2,)))
    assert request.selection == (2, Span(0, 6), Span(0, 9), Span(0, colours))
    assert request.shape == (6, 9, colours)


def test_a_large_coloured_image_is_strided_with_all_its_colours():
    node = make_node((), (3000, 2000, 3), dtype="<u1", names=("y", "x", "colour"))
    assert frame_request(ViewState(node, ())).shape == (750, 500, 3)
    detail = detail_request(ViewState(node, (), Region(0, 100, 0, 100), (400, 400)))
    assert detail.selection == (Span(0, 128), Span(0, 128), Span(0, 3))


@pytest.mark.parametrize(
    ("signal", "names", "dtype"),
    [((6, 9, 5), ("y", "x", "colour"), "<u1"), ((6, 9, 3), ("y", "x", "z"), "<u1"),
     ((6, 9, 3), ("y", "x", "colour"), "<f4"), ((9, 3), ("x", "colour"), "<u1")],
)  # fmt: skip
def test_other_axes_are_no_colours(signal, names, dtype):
    node = make_node((), signal, dtype=dtype, names=names)
    assert node.colour_axes == ()
    assert node.shown_axes == node.axes[-2:]
