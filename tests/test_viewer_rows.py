"""What a look through the folders finds, and what the list shows of it."""

import gc
import time
from dataclasses import replace

from test_viewer_view_state import make_node

from viewer.nodes import Entry, Sort, Tree
from viewer.rows import matching, reading_order, row_of
from viewer.walk import Page, Walk


class TestWalk:
    def page(self, folder, offset, names, count=None):
        entries = tuple(Entry((*folder, name), Sort.FILE) for name in names)
        return Page(folder, offset, entries, len(names), len(names) if count is None else count)

    def test_what_moves_between_two_pages_is_not_taken_for_gone(self):
        known = {}
        walk = Walk(known)
        walk.take(self.page((), 0, "ab", 4))
        walk.take(self.page((), 2, "cd", 4))
        walk = Walk(known)
        walk.take(self.page((), 0, "ab", 4))
        changes = walk.take(self.page((), 2, "d", 3))  # a file before c went away, and c moved up a page
        assert not changes.gone
        assert walk.next is None
        walk = Walk(known)
        assert walk.take(self.page((), 0, "acd")).gone == (("b",),)
        assert walk.next is None

    def test_an_empty_page_ends_a_folder(self):
        walk = Walk({})
        walk.take(self.page((), 0, "ab", 9))
        walk.take(self.page((), 2, "", 9))
        assert walk.next is None

    def test_unchanged_entries_are_not_told(self):
        known = {}
        assert Walk(known).take(self.page((), 0, "ab")).put
        assert not Walk(known).take(self.page((), 0, "ab"))


class TestRows:
    def test_reading_order_is_total_for_any_name(self):
        names = ["a", "10", "2", "", "a1", "a01", "²", "٣", "ß", "1a", "a1b2"]
        assert sorted(names, key=reading_order)[:4] == ["", "1a", "2", "٣"]

    def test_every_word_is_looked_for_anywhere_in_the_path(self):
        paths = [("day 1", "Gold.mrc"), ("day 2", "gold.mrc"), ("day 2", "tin.mrc")]
        assert matching("gold DAY2".replace("2", " 2"), paths) == {("day 2",), ("day 2", "gold.mrc")}
        assert matching("x", paths, frozenset({paths[2]})) == {("day 2",), ("day 2", "tin.mrc")}

    def test_a_file_without_signals_says_so(self):
        assert row_of(Entry(("a",), Sort.FILE), ()).detail == "no signal"
        assert row_of(Entry(("a",), Sort.FILE), (Tree(("a", "signal")),)).detail == "empty"

    def test_a_tree_of_ten_thousand_nodes_makes_its_rows_quickly(self):
        root = make_node((3, 3), (4, 4))
        nodes = [replace(root, path=(*root.tree, f"n{n}"), parent="root") for n in range(10_000)]
        gc.freeze()  # or what other tests left would be looked through again and again
        started = time.thread_time()
        row = row_of(Entry(("scan",), Sort.FILE), (Tree(root.tree, (root, *nodes)),))
        took = time.thread_time() - started
        gc.unfreeze()
        assert len(row.children) == 10_000
        assert took < 2
