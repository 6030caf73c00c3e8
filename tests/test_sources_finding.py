"""Which files of a folder are sources."""

from __future__ import annotations

import os
import time

import pytest
from format_files import FORMATS

from tiled_spyde.errors import SourceError
from tiled_spyde.sources import find_sources
from tiled_spyde.sources.finding import list_folder


def made(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(folder):
    return [path.relative_to(folder).as_posix() for path in find_sources(folder)]


def test_a_folder_is_walked_and_sorted(tmp_path):
    made(tmp_path, "b.mrc", "a.hspy", "day 2/c.tif", "day 2/deep/d.h5")
    (tmp_path / "store.zspy/Experiments").mkdir(parents=True)
    made(tmp_path, "store.zspy/.zgroup", "store.zspy/chunk.mrc")
    assert found(tmp_path) == ["a.hspy", "b.mrc", "day 2/c.tif", "day 2/deep/d.h5", "store.zspy"]


def test_what_is_not_data_is_left_out(tmp_path):
    made(
        tmp_path,
        "a.mrc",
        ".hidden.mrc",
        ".git/a.mrc",
        "notes.txt",
        "a_truth.json",
        "a_truth.npz",
        "README.md",
        "log.csv",
    )
    assert found(tmp_path) == ["a.mrc"]


def test_an_unknown_file_is_listed_so_that_its_reason_can_be(tmp_path):
    made(tmp_path, "a.xyz")
    assert found(tmp_path) == ["a.xyz"]


def test_companions_are_opened_by_their_files(tmp_path):
    made(
        tmp_path,
        "m.mib",
        "m.hdr",
        "t.emi",
        "t_1.ser",
        "t_2.ser",
        "v_000.tvips",
        "v_001.tvips",
        "r.rpl",
        "r.raw",
    )
    made(tmp_path, "d_master.h5", "d_data_000001.h5")
    assert found(tmp_path) == ["d_master.h5", "m.mib", "r.rpl", "t.emi", "v_000.tvips"]


def test_a_companion_without_its_file_is_a_source(tmp_path):
    made(tmp_path, "lone.hdr", "lone_1.ser", "lone_001.tvips", "lone.raw", "lone_data_000001.h5", "x.h5")
    assert len(found(tmp_path)) == 6


def test_links_may_not_leave_the_folder(tmp_path):
    made(tmp_path, "outside/secret.mrc", "served/a.mrc", "served/in/b.mrc")
    served = tmp_path / "served"
    (served / "out.mrc").symlink_to(tmp_path / "outside/secret.mrc")
    (served / "out").symlink_to(tmp_path / "outside")
    (served / "out.zspy").symlink_to(tmp_path / "outside")
    (served / "loop").symlink_to(served)
    (served / "dangling.mrc").symlink_to(tmp_path / "nowhere")
    (served / "inside.mrc").symlink_to(served / "in/b.mrc")
    assert found(served) == ["a.mrc", "in/b.mrc", "inside.mrc"]


def test_a_named_file_is_always_a_source(tmp_path):
    made(tmp_path, "notes.txt", "m.mib", "m.hdr")
    (tmp_path / "s.zspy").mkdir()
    for name in ("notes.txt", "m.hdr", "s.zspy"):
        assert find_sources(tmp_path / name) == [tmp_path / name]


def test_nothing_there(tmp_path):
    with pytest.raises(SourceError, match=r"Nothing at none: no such file or folder. Check the path"):
        find_sources(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert find_sources(tmp_path / "empty") == []


def test_what_belongs_to_a_source_is_found_with_it(tmp_path):
    names = {
        "m.mib": ["m.hdr"],
        "t.emi": ["t_1.ser", "t_2.ser"],
        "20251103_00001_movie.mrc": ["20251103_00001_info.txt", "20251103_00001_scan_coordinates.csv"],
        "map.spd": ["map.ipr"],
        "d_master.h5": ["d_data_000001.h5", "d_data_000002.h5"],
        "acquisition.xml": ["acquisition.raw"],
    }
    made(
        tmp_path,
        "notes.txt",
        "20251103_00002_info.txt",
        *names,
        *(name for more in names.values() for name in more),
    )
    sources = list_folder(str(tmp_path), [str(tmp_path)]).sources
    assert {
        os.path.basename(path): sorted(os.path.basename(member) for member in members)
        for path, members in sources.items()
    } == {name: sorted([name, *more]) for name, more in names.items()}


def test_the_description_of_an_empad_scan_is_a_source_and_other_xml_is_not(tmp_path):
    made(tmp_path, "one/a.xml", "one/scan_x4_y4.raw", "two/settings.xml", "two/b.mrc")
    made(tmp_path, "two/more.xml", "three/a.xml", "three/b.xml", "three/scan_x4_y4.raw")
    assert found(tmp_path)[0] == "one/a.xml"
    assert found(tmp_path)[1:] == ["three/a.xml", "three/b.xml", "three/scan_x4_y4.raw", "two/b.mrc"]


def test_a_folder_of_thousands_is_listed_with_one_call_for_each_file(tmp_path, monkeypatch):
    for number in range(3000):
        made(tmp_path, f"{number}.{('mrc', 'xml', 'txt')[number % 3]}")
    began = time.process_time()
    assert len(list_folder(str(tmp_path), [str(tmp_path)]).sources) == 1000
    assert time.process_time() - began < 1  # 15 ms; a mistake makes it grow with the square


@pytest.mark.parametrize("sample", ["impulse", "protochips"])
def test_tables_that_a_microscope_wrote_are_sources_and_others_are_not(tmp_path, sample):
    path = FORMATS[sample](tmp_path)
    (tmp_path / "log.csv").write_text("time,value\n1,2\n")
    (tmp_path / "settings.xml").write_text("<settings/>")
    assert path.name in found(tmp_path)
    assert not {"log.csv", "settings.xml"} & set(found(tmp_path))
