"""Writers of small files in the formats that are served: non-square, every pixel says where it stands."""

from __future__ import annotations

import json
import struct

import h5py
import numpy as np
import tifffile

AXES = {
    (0, 1): ("Energy",),
    (0, 2): ("y", "x"),
    (1, 1): ("x", "Energy"),
    (1, 2): ("z", "y", "x"),
    (2, 0): ("y", "x"),
    (2, 1): ("y", "x", "Energy"),
    (2, 2): ("y", "x", "ky", "kx"),
    (3, 1): ("t", "y", "x", "Energy"),
    (3, 2): ("t", "y", "x", "ky", "kx"),
}


def placed(shape, dtype):
    """An array whose every value tells its position as far as its type reaches."""
    values = np.arange(int(np.prod(shape)), dtype="i8").reshape(shape)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return (values * 0.25 - 7).astype(dtype)
    if dtype.kind == "i":
        return (values * 31 - 900).astype(dtype)
    return (values * 37 % 65_521).astype(dtype)


def described(shape, signal):
    """Axes as a hyperspy file has them."""
    navigation = len(shape) - signal
    return [
        {
            "name": name,
            "size": size,
            "scale": 0.5 * (at + 1),
            "offset": -1.5 * at,
            "units": "nm" if at < navigation else "1/nm",
            "navigate": at < navigation,
        }
        for at, (name, size) in enumerate(zip(AXES[navigation, signal], shape, strict=True))
    ]


def write_hspy(path, data, signal, axes=None, title="", signal_type="", **storage):
    """Write a HyperSpy HDF5 file; `storage` is what h5py takes (chunks, compression, shuffle)."""
    with h5py.File(path, "w") as file:
        file.attrs["file_format"] = "HyperSpy"
        file.attrs["file_format_version"] = "3.3"
        _write_hspy_group(file, data, signal, axes, title, signal_type, storage)
    return path


def add_to_hspy(path, data, signal, title):
    """Add one more signal to a HyperSpy HDF5 file."""
    with h5py.File(path, "a") as file:
        _write_hspy_group(file, data, signal, None, title, "", {})
    return path


def _write_hspy_group(file, data, signal, axes, title, signal_type, storage):
    group = file.create_group(f"Experiments/{title or '__unnamed__'}")
    # rosettasciio takes the chunks of every dataset for granted, so those without go in afterwards
    group.create_dataset("data", data=data, **storage)
    for at, axis in enumerate(axes or described(data.shape, signal)):
        for key, value in axis.items():
            if isinstance(value, np.ndarray):
                group.create_dataset(f"axis-{at}/{key}", data=value)
            else:
                group.require_group(f"axis-{at}").attrs[key] = "_None_" if value is None else value
    group.create_group("metadata/General").attrs["title"] = title
    group.create_group("metadata/Signal").attrs["signal_type"] = signal_type
    group.create_group("original_metadata")


def write_zspy(path, data, signal, title="scan", chunks=None):
    """Write a .zspy store, which is plain zarr v2, with zarr-python 3."""
    import zarr

    root = zarr.open_group(path, mode="w", zarr_format=2)
    root.attrs.update({"file_format": "ZSpy", "file_format_version": "3.3"})
    group = root.create_group("Experiments").create_group(title)
    group.attrs.update({"package": "hyperspy", "package_version": "2.5.0"})
    array = group.create_array("data", shape=data.shape, dtype=data.dtype, chunks=chunks or data.shape)
    array[...] = data
    for at, axis in enumerate(described(data.shape, signal)):
        group.create_group(f"axis-{at}").attrs.update({"_type": "UniformDataAxis", **axis})
    group.create_group("metadata").create_group("General").attrs["title"] = title
    group["metadata"].create_group("Signal").attrs["signal_type"] = ""
    group.create_group("original_metadata")
    return path


MRC_MODES = {"u1": 0, "i2": 1, "f4": 2, "c8": 4, "u2": 6, "f2": 12}


def mrc_header(nx, ny, nz, mode, extended=0, order="<"):
    """The 1024 bytes before the pixels of an MRC file: 2 Å per pixel."""
    header = struct.pack(
        f"{order}10I6f", nx, ny, nz, mode, 0, 0, 0, nx, ny, nz, 2 * nx, 2 * ny, 2 * nz, 90, 90, 90
    )
    header = header.ljust(92, b"\0") + struct.pack(f"{order}I", extended)
    return header.ljust(1024, b"\0")


def write_mrc(path, data, extended=0):
    """Write a stack or an image as MRC."""
    nz, ny, nx = data.shape if data.ndim == 3 else (1, *data.shape)
    header = mrc_header(nx, ny, nz, MRC_MODES[data.dtype.str[1:]], extended)
    path.write_bytes(header + b"e" * extended + data.tobytes())
    return path


def write_direct_electron(path, data):
    """Write a scan as a movie of a Direct Electron camera: a stack, and notes that say how it was scanned."""
    notes = {
        "Instrument Project TEMorSTEM Mode": 1,
        "Scan - Enable": "Enable",
        "Scan - Type": "Raster",
        "Scan - Size X": data.shape[1],
        "Scan - Size Y": data.shape[0],
        "Image Size X (pixels)": data.shape[3],
        "Image Size Y (pixels)": data.shape[2],
    }
    name = path.name.replace("_movie.mrc", "_info.txt")
    path.with_name(name).write_text("".join(f"{key} = {value}\n" for key, value in notes.items()))
    return write_mrc(path, data.reshape(-1, *data.shape[2:]))


def write_blo(path, data):
    """Write a 4-D scan of square patterns of bytes as a NanoMEGAS blockfile."""
    ny, nx, side, _ = data.shape
    first, frames = 0x1000, 0x2000
    header = struct.pack("<6sHIIIHHHHH", b"IMGBLO", 0x102, first, frames, 131141, side, 0, nx, ny, 0)
    header += struct.pack("<ddIHId", 1.5, 2.5, 200_000, 50, 300, 40_000.0)
    with path.open("wb") as file:
        file.write(header.ljust(frames, b"\0"))
        for number, frame in enumerate(data.reshape(-1, side, side)):
            file.write(struct.pack("<HI", 0x55AA, number) + frame.tobytes())
    return path


MIB_KINDS = {"u1": "U08", "u2": "U16", "u4": "U32"}


def write_mib(path, data, per_line=None, hdr=True, quad=False):
    """Write frames as Merlin does: big-endian, from the lowest row up, each with its header and time."""
    frames = data.reshape(-1, *data.shape[-2:])
    head = 768 if quad else 384
    kind = MIB_KINDS[data.dtype.str[1:]]
    clock = np.datetime64("2021-05-07T16:51:10.000000000")
    with path.open("wb") as file:
        for number, frame in enumerate(frames):
            clock += np.timedelta64(1_000_000, "ns")
            if per_line and number % per_line == 0:
                clock += np.timedelta64(9_000_000, "ns")  # the beam flies back
            fields = ["MQ1", f"{number + 1:06d}", f"{head:05d}", "01", f"{frame.shape[1]:04d}"]
            fields += [f"{frame.shape[0]:04d}", kind, "   2x2" if quad else "   1x1", "01", "2021-05-07"]
            fields += ["MQ1A", f"{clock}Z", "1000000ns", "6", ""]
            file.write(",".join(fields).encode().ljust(head, b"\0"))
            file.write(frame[::-1].astype(frame.dtype.newbyteorder(">")).tobytes())
    if hdr:
        lines = [
            "HDR,\t",
            f"Frames in Acquisition (Number):\t{len(frames)}",
            "Frames per Trigger (Number):\t1",
        ]
        path.with_suffix(".hdr").write_text("\n".join([*lines, "End\t"]) + "\n")
    return path


def write_tif(path, data, **options):
    """Write a TIFF stack."""
    tifffile.imwrite(path, data, photometric="minisblack", **options)
    return path


def write_py4dstem(path, data, order=("Rx", "Ry", "Qx", "Qy")):
    """Write a datacube as py4DSTEM does (EMD 1.0)."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"emd_group_type": "file", "version_major": 1, "version_minor": 0})
        file.create_group("datacube_root").attrs["emd_group_type"] = "root"
        cube = file.create_group("datacube_root/datacube")
        cube.attrs["emd_group_type"] = "array"
        cube.create_dataset("data", data=data)
        for at, name in enumerate(order):
            step = 0.5 * (at + 1)
            dimension = cube.create_dataset(f"dim{at}", data=np.array([0.0, step]))
            dimension.attrs.update({"name": name, "units": "nm" if name[0] == "R" else "A^-1"})
        virtual = file.create_group("datacube_root/datacube/virtual_image")
        virtual.attrs["emd_group_type"] = "array"
        virtual.create_dataset("data", data=data.sum(axis=(2, 3)))
        for at in range(2):
            dimension = virtual.create_dataset(f"dim{at}", data=np.array([0.0, 1.0]))
            dimension.attrs.update({"name": f"dim{at}", "units": "pixels"})
    return path


def write_plain_hdf5(path):
    """Write an HDF5 file that holds numbers, but nothing that says they are a signal."""
    with h5py.File(path, "w") as file:
        file["numbers"] = np.arange(12.0)
        file.attrs["note"] = json.dumps({"made": "by a script"})
    return path
