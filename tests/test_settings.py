"""What a configuration may say, and what the documentation says of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tiled_spyde.prepared import PreparedNode, checked
from tiled_spyde.settings import CalibrationRule, FolderSettings, locations, served_folders, trees_of

PAGE = (Path(__file__).parents[1] / "docs/configuration.md").read_text()


def test_a_single_folder_stands_at_the_top_and_several_under_their_names(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "c.mrc").touch()
    paths = [str(tmp_path / name) for name in ("a", "b", "c.mrc")]
    assert [place.name for place in locations(served_folders(paths[:1], ()))] == [()]
    assert [place.name for place in locations(served_folders(paths, ()))] == [("a",), ("b",), ("c.mrc",)]
    assert [place.name for place in locations(served_folders(paths[2:], ()))] == [("c.mrc",)]
    named = served_folders((), [{"path": paths[0], "name": "x/y"}])
    assert [(place.path, place.name) for place in locations(named)] == [(tmp_path / "a", ("x", "y"))]


def test_two_folders_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Two folders.*Give each a name of its own"):
        served_folders([str(tmp_path / "x/data"), str(tmp_path / "y/data")], ())


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"nothing at {tmp_path}/away"):
        locations(served_folders([str(tmp_path / "away"), str(tmp_path)], ()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is no YAML in line 1, column 5"),
        ("- 1", "no mapping"),
        ("a/b: {operation: sum}", "a/b"),
        ("a/b: [{operation: nothing}]", "a/b.*nothing"),
        ("a/b: [{operation: gaussian_filter, parameters: {sigma: wide}}]", "a/b.*sigma"),
        ("a/b: [{operation: sum, name: 'x/y'}]", "a/b.*name"),
        ("a/b: [{operation: sum, colour: red}]", "a/b.*colour"),
        (
            "a/b: [{operation: sum, name: p, parent: q}, {operation: sum, name: q, parent: p}]",
            "circle",
        ),
    ],
)
def test_a_file_of_trees_with_a_mistake_names_it(tmp_path, text, said):
    path = tmp_path / "trees.yml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as refused:
        trees_of(path)
    assert "trees.yml" in str(refused.value)


def test_a_file_of_trees_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"Cannot read .*trees\.yml: No such file"):
        trees_of(tmp_path / "trees.yml")


def test_the_pages_examples_are_valid():
    examples = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    arguments, rules, trees = examples
    (folder,) = served_folders((), arguments["trees"][0]["args"]["folders"])
    assert folder.names == ("proposal-17",)
    (folder,) = served_folders((), [{"path": "data", "calibration": rules}])
    assert [rule.signal for rule in folder.calibration] == [None, "EDS"]
    ((address, nodes),) = checked(trees).items()
    assert address == ("strained-foil.hspy", "strained_foil")
    assert [node.name for node in nodes] == ["background", "bright field"]


@pytest.mark.parametrize("model", [FolderSettings, CalibrationRule, PreparedNode])
def test_the_page_names_every_key(model):
    assert set(model.model_fields) <= set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
