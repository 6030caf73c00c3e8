"""Colours of the window, dark and light, and the style sheet made of them. No Qt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Theme:
    """One set of colours, as ``#rrggbb``."""

    name: str
    window: str
    panel: str
    field: str
    hover: str
    border: str
    text: str
    dim: str
    faint: str
    accent: str
    accent_field: str
    selected: str
    good: str
    busy: str
    bad: str
    canvas: str
    grid: str


DARK = Theme(
    name="dark",
    window="#1b1d20",
    panel="#222529",
    field="#2c3036",
    hover="#363b42",
    border="#383d44",
    text="#dfe3e8",
    dim="#939ba6",
    faint="#5f6772",
    accent="#4fc1ff",
    accent_field="#1d3b4d",
    selected="#2f3640",
    good="#5dd39e",
    busy="#ffb454",
    bad="#ff6b6b",
    canvas="#121316",
    grid="#30353c",
)
LIGHT = Theme(
    name="light",
    window="#f2f4f7",
    panel="#ffffff",
    field="#f0f2f5",
    hover="#e4e8ed",
    border="#d3d9e0",
    text="#20252c",
    dim="#66707d",
    faint="#a0a8b3",
    accent="#0a7cc4",
    accent_field="#d7ecf9",
    selected="#e3effa",
    good="#1a9b5e",
    busy="#c26a00",
    bad="#c93434",
    canvas="#16181b",
    grid="#e3e7ec",
)
THEMES = {theme.name: theme for theme in (DARK, LIGHT)}

# Text and axes over a picture: the canvas is dark in both themes.
CANVAS_TEXT, CANVAS_DIM = "#d4d9df", "#8d96a1"
HALO = "#000000"
# What stands out from each colormap; a dark halo keeps it visible on the map's own bright parts.
OVERLAY_COLOURS = {
    "gray": "#38bdf8",
    "inferno": "#4fd8ff",
    "magma": "#5ee7ff",
    "viridis": "#ff8fd0",
    "turbo": "#ffffff",
    "seismic": "#2bff88",
}
COLORMAPS = tuple(OVERLAY_COLOURS)


def style_sheet(theme: Theme) -> str:
    """Qt style sheet of a theme. Rules name their widgets, so that none leaks into others."""
    return "".join(part(theme) for part in (_surfaces, _buttons, _fields, _lists, _bars))


def _surfaces(t: Theme) -> str:
    """Dress windows, panels and what is written on them."""
    return f"""
QWidget {{ font-size: 9pt; }}
QDialog {{ background: {t.window}; color: {t.text}; }}
QDialog QAbstractItemView {{ background: {t.field}; color: {t.text}; border: 1px solid {t.border}; }}
QMainWindow, QWidget#desk {{ background: {t.window}; }}
QFrame#panel {{ background: {t.panel}; border: 1px solid {t.border}; border-radius: 6px; }}
QLabel {{ color: {t.text}; background: transparent; }}
QLabel#heading {{ color: {t.dim}; font-size: 8pt; font-weight: bold; }}
QLabel#hint {{ color: {t.faint}; font-size: 8pt; }}
QLabel#help {{ color: {t.dim}; font-size: 8pt; }}
QLabel#dim {{ color: {t.dim}; }}
QFrame#canvas {{ background: {t.canvas}; }}
QLabel#canvasText {{ color: {CANVAS_DIM}; background: {t.canvas}; }}
QLabel#badge {{ color: {t.busy}; border: 1px solid {t.busy}; border-radius: 3px; padding: 0 6px;
    font-size: 8pt; font-weight: bold; }}
QWidget#bar {{ background: {t.panel}; border-top: 1px solid {t.border}; }}
"""


def _buttons(t: Theme) -> str:
    """Dress buttons, alone and in rows."""
    return f"""
QPushButton {{ background: {t.field}; color: {t.text}; border: 1px solid {t.border};
    border-radius: 4px; padding: 4px 11px; min-height: 17px; }}
QPushButton:hover {{ background: {t.hover}; }}
QPushButton:pressed {{ background: {t.border}; }}
QPushButton:checked {{ background: {t.accent_field}; color: {t.accent}; border-color: {t.accent}; }}
QPushButton:disabled {{ color: {t.faint}; background: {t.panel}; }}
QPushButton:checked:disabled {{ color: {t.faint}; border-color: {t.border}; background: {t.panel}; }}
QPushButton#wanted {{ border-color: {t.busy}; color: {t.busy}; }}
QPushButton#first {{ border-top-right-radius: 0; border-bottom-right-radius: 0; }}
QPushButton#middle {{ border-radius: 0; border-left: none; }}
QPushButton#last {{ border-top-left-radius: 0; border-bottom-left-radius: 0; border-left: none; }}
QPushButton#middle:checked, QPushButton#last:checked {{ border-left: 1px solid {t.accent}; }}
QPushButton#flat {{ border: none; background: transparent; padding: 2px 6px; color: {t.dim}; }}
QPushButton#main {{ background: {t.accent_field}; color: {t.accent}; border-color: {t.accent}; }}
QPushButton#main:hover {{ background: {t.hover}; }}
QPushButton#main:disabled {{ color: {t.faint}; background: {t.panel}; border-color: {t.border}; }}
QPushButton#back {{ border: none; background: transparent; padding: 0; color: {t.dim}; min-width: 18px;
    max-width: 18px; }}
QPushButton#back:hover {{ color: {t.accent}; }}
QPushButton#back:disabled {{ color: transparent; }}
QPushButton#flat:hover {{ color: {t.text}; background: {t.hover}; }}
"""


def _fields(t: Theme) -> str:
    """Dress what is chosen, typed and ticked, and how far something is."""
    return f"""
QComboBox {{ background: {t.field}; color: {t.text}; border: 1px solid {t.border}; border-radius: 4px;
    padding: 4px 8px 4px 8px; min-height: 17px; combobox-popup: 0; }}
QComboBox#units {{ padding: 4px 0 4px 6px; }}
QComboBox:hover {{ background: {t.hover}; }}
QComboBox:disabled {{ color: {t.faint}; background: {t.panel}; }}
QComboBox::drop-down {{ border: none; width: 20px; }}
QComboBox::down-arrow {{ image: none; }}
QComboBox QAbstractItemView {{ background: {t.panel}; color: {t.text}; border: 1px solid {t.border};
    selection-background-color: {t.selected}; selection-color: {t.text}; outline: 0; }}
QLineEdit {{ background: {t.field}; color: {t.text}; border: 1px solid {t.border}; border-radius: 4px;
    padding: 3px 6px; min-height: 18px; selection-background-color: {t.accent};
    selection-color: {t.window}; }}
QLineEdit#name {{ padding: 0 2px; min-height: 0; border-radius: 2px; }}
QDoubleSpinBox {{ background: {t.field}; color: {t.text}; border: 1px solid {t.border}; border-radius: 4px;
    padding: 3px 5px; min-height: 18px; selection-background-color: {t.accent};
    selection-color: {t.window}; }}
QLineEdit:focus, QDoubleSpinBox:focus {{ border-color: {t.accent}; }}
QLineEdit[wrong="true"], QDoubleSpinBox[wrong="true"] {{ border-color: {t.bad}; }}
QCheckBox {{ color: {t.text}; spacing: 6px; }}
QCheckBox::indicator {{ width: 13px; height: 13px; border: 1px solid {t.border}; border-radius: 3px;
    background: {t.field}; }}
QCheckBox::indicator:checked {{ background: {t.accent}; border-color: {t.accent}; }}
QLabel#wrong {{ color: {t.bad}; font-size: 8pt; }}
QScrollArea, QWidget#form {{ background: {t.panel}; }}
QProgressBar {{ background: {t.field}; border: none; border-radius: 2px; }}
QProgressBar::chunk {{ background: {t.accent}; border-radius: 2px; }}
"""


def _lists(t: Theme) -> str:
    """Dress menus and the tree of files."""
    return f"""
QMenu {{ background: {t.panel}; color: {t.text}; border: 1px solid {t.border}; padding: 4px; }}
QMenu::item {{ padding: 4px 18px; border-radius: 3px; }}
QMenu::item:selected {{ background: {t.selected}; }}
QMenu::item:disabled {{ color: {t.faint}; }}
QTreeWidget {{ background: {t.panel}; color: {t.text}; border: none; outline: 0; }}
QTreeWidget::item {{ padding: 3px 2px; border: none; }}
QTreeWidget::item:hover {{ background: {t.field}; }}
QTreeWidget::item:selected {{ background: {t.selected}; color: {t.text}; }}
QTreeWidget::branch {{ background: transparent; }}
QTreeWidget::branch:selected {{ background: {t.selected}; }}
QHeaderView::section {{ background: {t.panel}; color: {t.dim}; border: none;
    border-bottom: 1px solid {t.border}; padding: 3px 4px; font-weight: normal; }}
"""


def _bars(t: Theme) -> str:
    """Dress the banner, sliders and scroll bars."""
    return f"""
QFrame#banner {{ background: {t.field}; border: none; border-left: 3px solid {t.busy}; border-radius: 3px; }}
QSlider::groove:horizontal {{ height: 4px; background: {t.hover}; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ height: 4px; background: {t.accent}; border-radius: 2px; }}
QSlider::handle:horizontal {{ width: 14px; height: 14px; margin: -5px 0; border-radius: 7px;
    background: {t.text}; }}
QSplitter::handle {{ background: transparent; }}
QScrollBar:vertical {{ background: transparent; width: 9px; margin: 0; }}
QScrollBar::handle:vertical {{ background: {t.hover}; border-radius: 4px; min-height: 24px; }}
QScrollBar:horizontal {{ background: transparent; height: 9px; margin: 0; }}
QScrollBar::handle:horizontal {{ background: {t.hover}; border-radius: 4px; min-width: 24px; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
QToolTip {{ background: {t.panel}; color: {t.text}; border: 1px solid {t.border}; padding: 4px; }}
"""
