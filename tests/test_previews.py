"""Pinned addresses of what nobody has kept: in this process, in others, for how long and to whom."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from catalog_samples import catalog as catalog_of
from catalog_samples import database, sigma, source
from conftest import until

from tiled_spyde import chains, previews, records
from tiled_spyde.chains import Step
from tiled_spyde.errors import Gone, InvalidOperation, NotFound, Unavailable
from tiled_spyde.fresh import Fresh
from tiled_spyde.previews import Previews
from tiled_spyde.seeking import Seeking

STEP = [Step(operation="gaussian_filter", parameters={"sigma": 1.5})]
PLACE = ("a.hspy", "signal")


@pytest.fixture
def kept(each_database, tmp_path):
    """A catalogue with one file, and the previews over its database."""
    catalog = catalog_of(tmp_path / "state", tmp_path / "data")
    catalog.update({tmp_path / "data" / "a.hspy": source(tmp_path / "data" / "a.hspy")})
    with previewing(tmp_path) as held:
        yield catalog, held


@contextmanager
def previewing(tmp_path):
    held = Previews(database(tmp_path / "state"))
    try:
        yield held
    finally:
        held.close()


def stored(tmp_path):
    with database(tmp_path / "state").reading() as connection:
        return records.previews_of(connection, _keys(connection), int(time.time()))


def _keys(connection):
    return [key for (key,) in connection.exec_driver_sql("SELECT key FROM previews")]


class TestWhatIsRemembered:
    def test_a_preview_has_the_key_that_its_node_would_have(self, kept):
        catalog, held = kept
        preview = held.derive(catalog.tree(PLACE), "root", STEP)
        node, _ = catalog.add_node(PLACE, **sigma(1.5))
        assert preview.key == catalog.tree(PLACE).recipe(node.name).key

    def test_only_what_was_asked_for_has_an_address(self, kept):
        catalog, held = kept
        tree = catalog.tree(PLACE)
        preview = held.derive(tree, "root", STEP)
        with pytest.raises(Gone, match="gone"):
            held.get(tree, preview.key)
        held.keep(preview)
        assert held.get(tree, preview.key) == preview
        with pytest.raises(NotFound, match="key"):
            held.get(tree, "")

    def test_it_is_over_after_a_day(self, kept, monkeypatch):
        catalog, held = kept
        tree, now = catalog.tree(PLACE), time.time()
        preview = held.derive(tree, "root", STEP)
        held.keep(preview)
        monkeypatch.setattr(time, "time", lambda: now + 86_000)
        held.get(tree, preview.key)
        held.keep(preview)  # and from then on another day
        monkeypatch.setattr(time, "time", lambda: now + 2 * 86_000)
        held.get(tree, preview.key)
        monkeypatch.setattr(time, "time", lambda: now + 3 * 86_400)
        with pytest.raises(Gone):
            held.get(tree, preview.key)

    def test_there_is_a_bound(self, kept, monkeypatch):
        catalog, _ = kept
        monkeypatch.setattr(previews, "_MOST_HELD", 20 * chains._BESIDE)
        held, tree = Previews(), catalog.tree(PLACE)
        made = [
            held.derive(tree, "root", [Step(operation="gaussian_filter", parameters={"sigma": 1 + i / 9})])
            for i in range(50)
        ]
        for preview in made:
            held.keep(preview)
        there = [held.knows(tree.place, preview.key) for preview in made]
        assert there == sorted(there)
        assert 10 <= sum(there) <= 20

    def test_what_it_begins_with_may_be_a_preview(self, kept):
        catalog, held = kept
        tree = catalog.tree(PLACE)
        first = held.derive(tree, "root", STEP)
        held.keep(first)
        shown = tree.showing(first.node, held.get(tree, first.key).recipe)
        second = held.derive(shown, "preview", STEP)
        assert second.node == "root"
        assert second.key == held.derive(tree, "root", STEP * 2).key

    def test_a_tree_that_shows_one_is_the_tree_it_was(self, kept):
        catalog, held = kept
        catalog.add_node(PLACE, **sigma(1), name="one")
        tree = catalog.tree(PLACE)
        names = list(tree.nodes)
        one = tree.nodes["one"].id
        shown = tree.showing(one, held.derive(tree, "one", STEP).recipe)
        assert shown.parent_name("preview") == "one"
        assert list(tree.nodes) == names
        assert list(shown.nodes) == [*names, "preview"]

    def test_a_node_called_so_by_hand_gets_another_name(self, kept, tmp_path):
        catalog, _ = kept
        catalog.add_node(PLACE, **sigma(1), name="one")
        with database(tmp_path / "state").writing() as connection:
            connection.exec_driver_sql("UPDATE nodes SET name = 'preview'")
            connection.exec_driver_sql("UPDATE trees SET changed = changed + 1")
            connection.exec_driver_sql("UPDATE state SET changes = changes + 1")
        catalog.refresh()
        assert "preview" not in catalog.tree(PLACE).nodes
        assert len(catalog.tree(PLACE).nodes) == 3


class TestOtherProcesses:
    def test_what_one_derives_another_finds(self, kept, tmp_path):
        catalog, held = kept
        node, _ = catalog.add_node(PLACE, **sigma(1))
        preview = held.derive(catalog.tree(PLACE), node.name, STEP)
        held.keep(preview)
        other_catalog = catalog_of(tmp_path / "state", tmp_path / "data")
        with previewing(tmp_path) as other:
            until(lambda: other.look_for([preview.key]) or other.knows(preview.place, preview.key), 10)
            found = other.get(other_catalog.tree(PLACE), preview.key)
            assert (found.node, found.key) == (node.id, preview.key)
            assert found.recipe is not preview.recipe
            # And it may go on from there.
            tree = other_catalog.tree(PLACE)
            longer = other.derive(tree.showing(found.node, found.recipe), "preview", STEP)
            assert longer.key == held.derive(catalog.tree(PLACE), node.name, STEP * 2).key

    def test_a_slider_is_written_now_and_then_and_told_nobody(self, kept, tmp_path, monkeypatch):
        catalog, held = kept
        tree, number, mark = catalog.tree(PLACE), catalog.revision, catalog._database.mark()
        writes, write = [], records.write_previews
        monkeypatch.setattr(
            records, "write_previews", lambda c, rows: writes.append(len(rows)) or write(c, rows)
        )
        for moved in range(200):
            step = Step(operation="gaussian_filter", parameters={"sigma": 1 + moved / 100})
            preview = held.derive(tree, "root", [step])
            for _ in range(5):  # a picture each, as the crosshair moves
                held.keep(preview)
        held.close()
        assert sum(writes) == 200
        assert len(writes) < 100
        assert len(stored(tmp_path)) == 200
        assert catalog._database.mark() == mark
        catalog.refresh()
        assert catalog.revision == number

    def test_whose_node_is_another_one_is_gone_in_every_process_until_that_is_undone(self, kept, tmp_path):
        catalog, held = kept
        node, _ = catalog.add_node(PLACE, **sigma(1))
        preview = held.derive(catalog.tree(PLACE), node.name, STEP)
        held.keep(preview)
        held.close()
        with previewing(tmp_path) as elsewhere:
            elsewhere.look_for([preview.key])
            change = sa.text("UPDATE nodes SET parameters = replace(parameters, :before, :after)")
            for before, after, said in (("1.0", "2.0", "changed"), ("2.0", "-1", "sigma"), ("-1", "1.0", "")):
                with database(tmp_path / "state").writing() as connection:
                    connection.execute(change, {"before": before, "after": after})
                other = catalog_of(tmp_path / "state", tmp_path / "data").tree(PLACE)
                for process in (held, elsewhere):
                    if said:
                        with pytest.raises(Gone, match=said):
                            process.get(other, preview.key)
                    else:
                        assert process.get(other, preview.key).recipe.parent is other.recipe(node.name)
            with database(tmp_path / "state").writing() as connection:
                connection.exec_driver_sql("DELETE FROM nodes")
            other = catalog_of(tmp_path / "state", tmp_path / "data").tree(PLACE)
            for process in (held, elsewhere):
                with pytest.raises(Gone, match="deleted"):
                    process.get(other, preview.key)

    def test_whose_parameter_is_another_node_is_gone(self, kept):
        catalog, held = kept
        held = Previews(kept=catalog.kept)
        catalog.add_node(PLACE, parent="root", operation="mean_over_scan", parameters={}, name="m")
        step = Step(operation="subtract_reference", parameters={"reference": {"node": "m"}})
        preview = held.derive(catalog.tree(PLACE), "root", [step])
        held.keep(preview)
        assert held.get(catalog.tree(PLACE), preview.key) is preview
        catalog.change_node((*PLACE, "m"), operation="max_over_scan")
        with pytest.raises(Gone, match="changed"):
            held.get(catalog.tree(PLACE), preview.key)
        catalog.change_node((*PLACE, "m"), operation="mean_over_scan")
        assert held.get(catalog.tree(PLACE), preview.key).key == preview.key

    def test_it_is_of_the_file_as_it_is_now(self, kept, tmp_path):
        catalog, held = kept
        preview = held.derive(catalog.tree(PLACE), "root", STEP)
        held.keep(preview)
        path = tmp_path / "data" / "a.hspy"
        catalog.update({path: source(path)})  # equal content in another file
        again = held.get(catalog.tree(PLACE), preview.key)
        assert again.key == preview.key
        assert again.recipe.root is catalog.tree(PLACE).root
        catalog.update({path: source(path, content="other")})
        with pytest.raises(Gone, match="changed"):
            held.get(catalog.tree(PLACE), preview.key)

    @pytest.mark.parametrize(
        "steps", ["", "{}", "[1]", '[["sum"]]', '[["sum","["]]', '[["os.system","{}"]]', "[[1,2]]", "null"]
    )
    def test_what_was_changed_by_hand_is_gone(self, kept, tmp_path, steps):
        catalog, held = kept
        preview = held.derive(catalog.tree(PLACE), "root", STEP)
        held.keep(preview)
        held.close()
        with database(tmp_path / "state").writing() as connection:
            connection.execute(sa.text("UPDATE previews SET steps = :steps"), {"steps": steps})
        with previewing(tmp_path) as other:
            other.look_for([preview.key])
            with pytest.raises(Gone):
                other.get(catalog.tree(PLACE), preview.key)

    def test_the_table_is_bounded_in_time_and_size(self, each_database, tmp_path):
        rows = [records.StoredPreview("p", f"{i:032}", "root", 1000 + i, 100, "[]") for i in range(50)]
        here = database(tmp_path / "state")
        for now, most, left in ((0, 10_000, 50), (1009, 10_000, 40), (1009, 2000, 20), (2000, 2000, 0)):
            with here.writing(unmarked=True) as connection:
                records.write_previews(connection, rows if now == 0 else [])
                records.forget_previews(connection, now, most)
                found = records.previews_of(connection, [row.key for row in rows], 0)
            assert [row.key for row in sorted(found, key=lambda row: row.key)] == [
                row.key for row in rows[50 - left :]
            ]

    def test_who_ends_it_while_it_is_about_to_write_is_heard(self, kept, tmp_path, monkeypatch):
        catalog, held = kept
        ended, waited = held._ended, []

        def wait(seconds):
            if waited:
                return type(ended).wait(ended, seconds)
            waited.append(seconds)
            ended.set()  # as `close` does, just after this has looked
            held._due.set()
            return False

        monkeypatch.setattr(ended, "wait", wait)
        preview = held.derive(catalog.tree(PLACE), "root", STEP)
        held.keep(preview)
        until(lambda: not held._thread.is_alive())
        assert [row.key for row in stored(tmp_path)] == [preview.key]


class TestWithoutADatabase:
    def test_a_process_knows_its_own(self, kept, tmp_path, monkeypatch):
        catalog, held = kept
        tree = catalog.tree(PLACE)

        def no(**_):
            raise Unavailable("It is read-only.")

        monkeypatch.setattr(previews, "_TRIED_AGAIN", 0.01)
        with monkeypatch.context() as away:
            away.setattr(held._database, "writing", no)
            preview = held.derive(tree, "root", STEP)
            held.keep(preview)
            until(lambda: held._told)
            assert held.get(tree, preview.key).recipe is preview.recipe
        until(lambda: stored(tmp_path))  # it is written as soon as that can be
        assert stored(tmp_path)[0].key == preview.key

    def test_nothing_waits_for_ever_where_nothing_can_be_written(self, kept, monkeypatch):
        catalog, held = kept

        def no(**_):
            raise Unavailable("It is read-only.")

        monkeypatch.setattr(held._database, "writing", no)
        monkeypatch.setattr(held._waiting, "_most", 20 * chains._BESIDE)
        tree = catalog.tree(PLACE)
        for i in range(100):
            held.keep(
                held.derive(
                    tree, "root", [Step(operation="gaussian_filter", parameters={"sigma": 1 + i / 9})]
                )
            )
        assert len(held._waiting._values) <= 20
        held.close()
        with pytest.raises(InvalidOperation):
            held.derive(tree, "root", [Step(operation="nothing")])


class TestSeeking:
    """A request for a preview waits for the process that has derived it, but not for ever."""

    def asked(self, catalog, held, path):
        reached = []

        async def app(scope, receive, send):
            reached.append(scope["path"])

        app.at_once = lambda scope: None
        seeking = Fresh(Seeking(app, catalog, held), catalog)
        asyncio.run(seeking({"type": "http", "path": path}, None, None))
        assert reached == [path]

    @pytest.mark.parametrize(
        "path", ["/api/v1/array/full/{}", "/zarr/v3/{}/c/0/0/0/0", "/zarr/v2/{}.zarr/0/0/0/0/0"]
    )
    def test_it_finds_what_another_process_derived(self, kept, tmp_path, path):
        catalog, held = kept
        preview = held.derive(catalog.tree(PLACE), "root", STEP)
        with previewing(tmp_path) as other:
            held.keep(preview)  # and the other one is asked at once
            self.asked(catalog, other, path.format(f"a.hspy/signal/preview@{preview.key}"))
            assert other.knows(preview.place, preview.key)

    def test_what_nobody_derived_is_not_waited_for_long(self, kept):
        catalog, held = kept
        began = time.monotonic()
        self.asked(catalog, held, f"/api/v1/array/full/a.hspy/signal/preview@{'0' * 32}")
        assert time.monotonic() - began < 30

    @pytest.mark.parametrize(
        "path", ["/", "/api/v1/metadata/a.hspy/signal/root", "/preview@", f"/x/preview@{'0' * 32}"]
    )
    def test_all_else_goes_on_at_once(self, kept, path, monkeypatch):
        catalog, held = kept
        monkeypatch.setattr(held, "look_for", None)
        self.asked(catalog, held, path)

    def test_a_database_that_is_away_is_not_waited_for_either(self, kept, monkeypatch):
        catalog, held = kept

        def no():
            raise Unavailable("It is gone.")

        monkeypatch.setattr(held._database, "reading", no)
        self.asked(catalog, held, f"/api/v1/array/full/a.hspy/signal/preview@{'0' * 32}")
