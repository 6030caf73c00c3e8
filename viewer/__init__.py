"""A thin viewer for tiled-spyde: PyQt5 and pyqtgraph over HTTP."""
