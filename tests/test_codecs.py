"""One Blosc frame, whatever the array."""

from __future__ import annotations

import numpy as np
import pytest
from numcodecs import Blosc

from tiled_spyde.codecs import decode, encode

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


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="reshape"):
        decode(encode(np.zeros((3, 4), "u2")), (3, 5), "u2")
