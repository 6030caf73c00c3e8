"""A tree is taken along: its recipe, or a script, in a file that a person chooses."""

import json

import pytest
from conftest import KEY, serving
from pyqtgraph.Qt import QtCore, QtWidgets
from viewer_service import choose, opened

TREE = ("scan4d.hspy", "signal")


@pytest.fixture
def window(qtbot, scans):
    with serving([scans]) as service, opened(qtbot, service.url, KEY) as window:
        qtbot.waitUntil(lambda: window.session.find((*TREE, "root")) is not None)
        choose(qtbot, window, *TREE, "root")
        for name, parent in (("binned", "root"), ("below", "binned"), ("other", "root")):
            window.session.service.make_node(TREE, parent, "bin", {"x": 4 if name == "other" else 2}, name)
        qtbot.waitUntil(lambda: (*TREE, "other") in window.tree.items)
        yield window


def ask(qtbot, window, node, text):
    """Choose an entry of a row's menu; gives the dialog for the file."""
    menu = QtWidgets.QMenu()
    window.tree.menu_opened.emit(menu, window.tree.row((*TREE, node)))
    next(action for action in menu.actions() if action.text() == text).trigger()
    qtbot.waitUntil(window.taking.dialog.isVisible)
    return window.taking.dialog


def save(dialog, folder):
    """Save under the name that is proposed."""
    name = dialog.selectedFiles()[0].rpartition("/")[2]
    dialog.setDirectory(str(folder))
    dialog.selectFile(str(folder / name))
    dialog.accept()
    return folder / name


def written(qtbot, file):
    qtbot.waitUntil(lambda: file.is_file() and file.stat().st_size > 0)
    return file.read_text()


def test_a_tree_and_a_node_are_saved(qtbot, window, tmp_path):
    file = save(ask(qtbot, window, "root", "Save recipe…"), tmp_path)
    assert file.name == "scan4d.recipe.json"
    assert {node["name"] for node in json.loads(written(qtbot, file))["nodes"]} >= {
        "binned",
        "below",
        "other",
    }
    file = save(ask(qtbot, window, "below", "Save script…"), tmp_path)
    assert file.name == "scan4d_recipe.py"
    script = written(qtbot, file)
    compile(script, file.name, "exec")
    assert "'below'" in script
    assert "'other'" not in script


@pytest.mark.parametrize("answer", ["Yes", "No"])
def test_a_file_that_is_there_is_only_written_over_when_that_is_wanted(qtbot, window, tmp_path, answer):
    there = tmp_path / "scan4d.recipe.json"
    there.write_text("mine")
    asked = []

    def reply():
        box = QtWidgets.QApplication.activeModalWidget()
        if isinstance(box, QtWidgets.QMessageBox):
            asked.append(box.text())
            box.button(getattr(QtWidgets.QMessageBox.StandardButton, answer)).click()

    timer = QtCore.QTimer(interval=20)
    timer.timeout.connect(reply)
    timer.start()
    dialog = ask(qtbot, window, "root", "Save recipe…")
    save(dialog, tmp_path)
    timer.stop()
    assert asked
    if answer == "Yes":
        qtbot.waitUntil(lambda: there.read_text().startswith("{"))
    else:
        assert dialog.isVisible()
        dialog.reject()
        assert there.read_text() == "mine"


def test_what_cannot_be_written_says_why(qtbot, window, tmp_path):
    window.taking._take(TREE, "json", "", str(tmp_path / "no such folder" / "recipe.json"))
    qtbot.waitUntil(lambda: "cannot be written: No such file or directory" in window.banner.text.text())
    window.taking._take(TREE, "json", "nothing", str(tmp_path / "recipe.json"))
    qtbot.waitUntil(lambda: "nothing" in window.banner.text.text())
    assert not (tmp_path / "recipe.json").exists()
