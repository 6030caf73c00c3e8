"""What lies between the first two of several pictures: B − A, of all of them and of what is on the screen in detail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from viewer.compared import centred, why_no_difference
from viewer.differing import Differ

if TYPE_CHECKING:
    from viewer.beside import Beside
    from viewer.lanes import Answer
    from viewer.panels.compare import ComparePanel
    from viewer.picture import Picture


class Between:
    """Subtracts in threads, and has it painted where that is wanted.

    Parameters
    ----------
    beside : Beside
        Has the pictures.
    panel : ComparePanel
        Where it is shown.
    """

    def __init__(self, beside: Beside, panel: ComparePanel) -> None:
        self._beside, self._panel = beside, panel
        self._details: dict[int, Answer] = {}
        self._whole, self._fine = Differ(), Differ()
        self._pair = self._fine_pair = 0
        self._whole.done.connect(self._differs)
        self._fine.done.connect(self._differs_in_detail)
        beside.detailed.connect(self._detailed)

    @property
    def wanted(self) -> bool:
        """True where B − A is shown."""
        return bool(self._panel.switches.difference.isChecked())

    def close(self) -> None:
        """End the threads."""
        self._whole.close()
        self._fine.close()

    def keep(self, kept: set[int]) -> None:
        """Forget details of all pictures but these."""
        self._details = {which: answer for which, answer in self._details.items() if which in kept}

    def say(self) -> None:
        """Say why there is no difference, where there is none."""
        if self.wanted and (why := why_no_difference(*self._beside.nodes[:2])):
            self._panel.complain(len(self._beside.nodes), f"B − A cannot be shown: {why}.")

    def painted(self, came: set[int]) -> None:
        """Pictures were painted anew: ask for B − A, where both are of one position."""
        self.keep(set(self._details) - came)
        a, b = self._beside.painted.get(0), self._beside.painted.get(1)
        if not self.wanted or a is None or b is None:
            return
        same = a.value.raw.shape == b.value.raw.shape and self._beside.together(0, 1)
        if same and not why_no_difference(*self._beside.nodes[:2]):
            self._pair = self._whole.ask(a.value.raw, b.value.raw)

    def _differs(self, number: int, picture: Picture) -> None:
        a = self._beside.painted.get(0)
        if number != self._pair or a is None or a.request is None:
            return
        low, high = picture.limits
        levels = centred(picture.automatic) if picture.raw.ndim == 2 else (min(low, 0.0), max(high, 0.0))
        self._panel.paint_difference(picture, a.request, levels)
        self._subtract_details()

    def _detailed(self, which: int, answer: Answer) -> None:
        """Show what is on the screen of a large image in more detail."""
        self._details[which] = answer
        self._panel.paint_detail(which, answer.value, answer.request)
        self._subtract_details()

    def _subtract_details(self) -> None:
        a, b = self._details.get(0), self._details.get(1)
        if self.wanted and a is not None and b is not None and a.request.selection == b.request.selection:
            self._fine_pair = self._fine.ask(a.value.raw, b.value.raw)

    def _differs_in_detail(self, number: int, picture: Picture) -> None:
        if number == self._fine_pair and (a := self._details.get(0)) is not None:
            self._panel.paint_detail(len(self._beside.nodes), picture, a.request)
