"""Small files of formats beyond the raw ones: with rosettasciio's writers where it has them, else by hand."""

from __future__ import annotations

import struct

import h5py
import numpy as np
from source_files import placed


def by_hyperspy(name, shape, dtype, signal=2, **options):
    """A writer of a hyperspy signal with calibrated axes as the file `name`."""

    def written(folder):
        import hyperspy.api as hs

        kind = {1: hs.signals.Signal1D, 2: hs.signals.Signal2D}[signal]
        made = kind(placed(shape, dtype))
        for number, axis in enumerate(made.axes_manager._axes):
            axis.name, axis.units = f"{'yxuv'[number]}", "nm"
            axis.scale, axis.offset = 0.5 * (number + 1), 2.0 * number
        made.save(folder / name, overwrite=True, **options)
        return folder / name

    return written


def picture(name, data, **options):
    """A writer of a picture with Pillow."""

    def written(folder):
        from PIL import Image

        Image.fromarray(data).save(folder / name, **options)
        return folder / name

    return written


def colours(shape, dtype):
    """Pixels of red, green and blue that differ."""
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape).astype(dtype)


def colour_tif(shape, dtype, name="a.tif", **options):
    def written(folder):
        import tifffile

        tifffile.imwrite(folder / name, colours(shape, dtype), photometric="rgb", **options)
        return folder / name

    return written


def colour_hspy(shape, dtype):
    def written(folder):
        import hyperspy.api as hs

        made = hs.signals.Signal1D(colours(shape, dtype))
        made.change_dtype({1: "rgb8", 2: "rgb16"}[np.dtype(dtype).itemsize])
        made.save(folder / "a.hspy")
        return folder / "a.hspy"

    return written


def zipped_zspy(folder):
    import shutil

    from source_files import write_zspy

    path = write_zspy(folder / "store.zspy", placed((3, 4, 5, 6), "u2"), 2, chunks=(1, 2, 5, 6))
    shutil.make_archive(str(folder / "a"), "zip", path)
    shutil.rmtree(path)
    return (folder / "a.zip").rename(folder / "a.zspy")


def dens(folder):
    lines = ["01/02/'18 10:20\tDigiheater 3.1", "R0=1\ta=2\tb=3\tc=4", "1"]
    lines.append("sample\ttime\tTset[C]\tTmeas[C]\tRheat[ohm]\tVheat[V]\tIheat[mA]\tPheat [mW]\tc")
    lines += [f"{n}\t00:00:{n:02d}.000\t20\t{20 + n}\t1\t1\t1\t1\t1" for n in range(1, 8)]
    (folder / "a.dens").write_text("\n".join(lines) + "\n")
    return folder / "a.dens"


def empad(folder, raw="scan_x4_y3.raw"):
    """A scan of 3 lines: the frames, with two lines of notes below each, are in the file that the XML names."""
    frames = placed((3, 4, 130, 128), "f4")
    if "/" not in raw:
        (folder / raw).write_bytes(frames.tobytes())
    (folder / "a.xml").write_text(
        f'<root><raw_file filename="{raw}"/><pix_x>4</pix_x><pix_y>3</pix_y>'
        "<timestamp><isoformat>2021-01-01T10:00:00</isoformat></timestamp></root>"
    )
    return folder / "a.xml"


def impulse(folder):
    rows = [f"10:00:{n:02d},{n * 0.5},{20 + n}" for n in range(9)]
    text = "\n".join(["TimeStamp,Experiment time,Temperature Measured (degC)", *rows])
    (folder / "a_Synchronized data.csv").write_text(text + "\n")
    notes = "Experiment date,2021-01-01\nExperiment time,10:00:00\nLive notes,none\n"
    (folder / "a_Metadata.log").write_text(notes)
    return folder / "a_Synchronized data.csv"


def protochips(folder):
    head = ["Time,Notes,Channel A Temperature,Channel A Power"]
    said = ["Calibration file = a.csv", "Date (yyyy.mm.dd) = 2021.01.01", "Time (hh:mm:ss.ms) = 10:00:00.0"]
    said += ["Temperature units = C", "Power units = mW", "Time units = Milliseconds", "User = someone"]
    rows = [f"{n * 500},,{20 + n},{n}" for n in range(9)]
    (folder / "a.csv").write_text("\n".join(head + [f"0,{one},," for one in said] + rows) + "\n")
    return folder / "a.csv"


def dectris(folder, shape=(9, 6, 6), per_file=4):
    """A detector's master file, which leads to the files with the frames."""
    data = placed(shape, "u4")
    with h5py.File(folder / "a_master.h5", "w") as master:
        master.create_group("entry").attrs["NX_class"] = "NXentry"
        group = master.create_group("entry/data")
        for number, at in enumerate(range(0, len(data), per_file), 1):
            name = f"a_data_{number:06d}.h5"
            with h5py.File(folder / name, "w") as part:
                part.create_dataset("entry/data/data", data=data[at : at + per_file], chunks=(1, *shape[1:]))
            group[f"data_{number:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
    return folder / "a_master.h5"


def virtual(folder):
    """A HyperSpy file whose data are assembled from two other files."""
    from source_files import write_hspy

    data = placed((4, 5, 6), "u2")
    layout = h5py.VirtualLayout(data.shape, "u2")
    for number in range(2):
        with h5py.File(folder / f"part_{number}.h5", "w") as part:
            part["data"] = data[2 * number : 2 * number + 2]
        layout[2 * number : 2 * number + 2] = h5py.VirtualSource(f"part_{number}.h5", "data", (2, 5, 6))
    path = write_hspy(folder / "a.hspy", data, 2)
    with h5py.File(path, "a") as file:
        del file["Experiments/__unnamed__/data"]
        file["Experiments/__unnamed__"].create_virtual_dataset("data", layout)
    return path


def delmic(folder):
    """A cathodoluminescence map as Odemis writes it."""
    with h5py.File(folder / "a.h5", "w") as file:
        group = file.create_group("Acquisition0")
        image = group.create_dataset("ImageData/Image", data=placed((31, 1, 1, 4, 5), "u2"))
        for dimension, name in zip(image.dims, "CTZYX", strict=True):
            dimension.label = name
        for number, name in enumerate("XYZTC"):
            group[f"ImageData/{name}Offset"] = float(number)
            if name != "C":
                group[f"ImageData/DimensionScale{name}"] = 1e-7
        group["ImageData/DimensionScaleC"] = np.linspace(3e-7, 8e-7, 31)
        for key, value in {"ChannelDescription": "Spectrum", "Title": "a"}.items():
            group[f"PhysicalData/{key}"] = np.array([value.encode()])
            group[f"PhysicalData/{key}"].attrs["State"] = np.array([11])
        group["SVIData/Company"] = b"Delmic"
        group["SVIData/WriterVersion"] = b"1"
    return folder / "a.h5"


def tofwerk(folder):
    from rsciio.tests.generate_tofwerk_test_files import make_opened_fixture

    return make_opened_fixture(folder / "a.h5") or folder / "a.h5"


def spd(folder):
    """An EDAX map, without its companions."""
    from rsciio.edax._api import get_spd_dtype_list

    kind = np.dtype(get_spd_dtype_list("<"))
    header = np.zeros(1, kind)
    header["tag"][0, :15] = np.frombuffer(b"MAPSPECTRA_DATA", "i1")
    said = {"version": 1, "nSpectra": 12, "nPoints": 4, "nLines": 3, "nChannels": 20}
    for key, value in (said | {"countBytes": 2, "dataOffset": kind.itemsize}).items():
        header[key] = value
    (folder / "a.spd").write_bytes(header.tobytes() + placed((3, 4, 20), "<u2").tobytes())
    return folder / "a.spd"


def hamamatsu(folder):
    comment = b'[Application],Date="01/02/2021",Time="10:00:00.000",Application=2[Acquisition],AcqMode=1'
    comment += b'[Scaling],ScalingXType=1,ScalingXScale=1,ScalingXUnit="No unit",ScalingXScalingFile="Other"'
    comment += b',ScalingYType=1,ScalingYScale=1,ScalingYUnit="No unit",ScalingYScalingFile="Other"'
    data = placed((5, 7), "<u2")
    head = b"IM" + struct.pack("<hhhhhh", len(comment), 7, 5, 0, 0, 2) + b"\0" * 50
    (folder / "a.img").write_bytes(head + comment + data.tobytes())
    return folder / "a.img"


FORMATS = {
    "digitalsurf": by_hyperspy("a.sur", (5, 7), "i2"),
    "emd NCEM stack": by_hyperspy("a.emd", (4, 5, 7), "u2"),
    "emd NCEM scan": by_hyperspy("a.emd", (3, 4, 5, 7), "f4"),
    "mrcz": by_hyperspy("a.mrcz", (4, 5, 7), "f4"),
    "mrcz compressed": by_hyperspy("a.mrcz", (4, 5, 7), "u2", compressor="zstd"),
    "msa": by_hyperspy("a.msa", (37,), "f4", signal=1),
    "nexus": by_hyperspy("a.nxs", (3, 4, 5, 7), "u2"),
    "numpy": by_hyperspy("a.npy", (3, 4, 5), ">u2"),
    "pantarhei": by_hyperspy("a.prz", (3, 4, 5, 7), "f4"),
    "ripple": by_hyperspy("a.rpl", (3, 4, 20), "u2", signal=1),
    "ripple stack": by_hyperspy("a.rpl", (3, 4, 5), "f4"),
    "semper": by_hyperspy("a.unf", (4, 5, 7), "f4"),
    "tvips": by_hyperspy("a_000.tvips", (3, 4, 6, 8), "u2", max_file_size=1000),
    "png": picture("a.png", placed((5, 7), "u1")),
    "png 16 bit": picture("a.png", placed((5, 7), "u2")),
    "png colours": picture("a.png", colours((5, 7, 3), "u1")),
    "png colours and alpha": picture("a.png", colours((5, 7, 4), "u1")),
    "jpg colours": picture("a.jpg", colours((16, 24, 3), "u1")),
    "bmp": picture("a.bmp", placed((5, 7), "u1")),
    "tif colours": colour_tif((5, 7, 3), "u1"),
    "tif colours 16 bit": colour_tif((5, 7, 3), "u2"),
    "tif colours big-endian": colour_tif((5, 7, 3), "u2", byteorder=">"),
    "tif colours and alpha": colour_tif((5, 7, 4), "u1"),
    "tif colours compressed": colour_tif((5, 7, 3), "u1", compression="zlib"),
    "tif colours stack": colour_tif((4, 5, 7, 3), "u1"),
    "hspy colours": colour_hspy((3, 5, 7, 3), "u1"),
    "hspy colours 16 bit": colour_hspy((5, 7, 3), "u2"),
    "zspy zipped": zipped_zspy,
    "hspy of virtual datasets": virtual,
    "dectris scan": dectris,
    "dectris stack": lambda folder: dectris(folder, (7, 5, 6)),
    "dens": dens,
    "empad": empad,
    "impulse": impulse,
    "protochips": protochips,
    "delmic": delmic,
    "tofwerk": tofwerk,
    "edax": spd,
    "hamamatsu": hamamatsu,
}
