"""One Blosc frame, whatever the array."""

from __future__ import annotations

import numpy as np
import pytest
from numcodecs import Blosc

from tiled_spyde.codecs import decode, encode
from tiled_spyde.errors import TooLarge

DTYPES = [
    "?",
    "u1",
    "i1",
    "u2",
    "i2",
    ">u2",
    "u4",
    "i4",
    ">i4",
    "u8",
    "i8",
    "f2",
    "f4",
    ">f4",
    "f8",
    "c8",
    "c16",
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 3), (2, 0, 4), (2, 3, 5)])
def test_what_goes_in_comes_out_little_endian(dtype, shape):
    array = (np.arange(np.prod(shape, dtype=int)).reshape(shape) % 7).astype(dtype)
    out = decode(encode(array), shape, dtype)
    assert out.dtype.byteorder in "<|="
    np.testing.assert_array_equal(out, array)


def test_any_blosc_decoder_reads_it():
    array = np.arange(60000, dtype="u2").reshape(200, 300)
    frame = encode(array)
    assert np.frombuffer(Blosc().decode(frame), "<u2").tolist() == array.ravel().tolist()


def test_a_transposed_array_is_sent_in_c_order():
    array = np.arange(12, dtype="u4").reshape(3, 4).T
    np.testing.assert_array_equal(decode(encode(array), (4, 3), "u4"), array)


def test_counting_frames_are_small():
    frame = np.random.default_rng(1).poisson(0.3, (256, 256)).astype("u2")
    assert len(encode(frame)) < 0.12 * frame.nbytes


@pytest.mark.parametrize("mean", [0.05, 0.3, 1, 2])
def test_they_are_smaller_than_tileds_zarr_route_makes_them(mean):
    """Which shuffles bytes."""
    frame = np.random.default_rng(1).poisson(mean, (256, 256)).astype("u2")
    assert len(encode(frame)) <= 0.6 * len(Blosc(cname="lz4", clevel=5, shuffle=Blosc.SHUFFLE).encode(frame))


NOISE = np.random.default_rng(1).normal(size=(256, 256))


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_noise_is_stored_as_it_is(dtype):
    array = (NOISE * (1 if dtype[0] == "f" else 1 + 2j)).astype(dtype)
    frame = encode(array)
    assert len(frame) == array.nbytes + 16
    np.testing.assert_array_equal(np.frombuffer(Blosc().decode(frame), dtype).reshape(256, 256), array)


@pytest.mark.parametrize(
    ("array", "part"),
    [
        (np.random.default_rng(1).poisson(1, (256, 256)).astype("f4"), 0.3),
        (np.where(np.arange(256)[:, None] < 128, NOISE, 0).astype("f4"), 0.6),
        (np.where(np.abs(np.arange(256)[:, None] - 128) < 30, NOISE, 0).astype("f4"), 0.3),
    ],
    ids=["counts", "half", "a band"],
)
def test_floats_that_get_smaller_are_compressed(array, part):
    frame = encode(array)
    assert len(frame) < part * array.nbytes
    np.testing.assert_array_equal(decode(frame, array.shape, array.dtype), array)


def test_what_no_frame_can_hold_is_refused():
    with pytest.raises(TooLarge, match="smaller slice"):
        encode(np.broadcast_to(np.zeros(1, "u1"), (2, 1 << 30)))


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="reshape"):
        decode(encode(np.zeros((3, 4), "u2")), (3, 5), "u2")
