# Two commands, with Python 3.11 to 3.13 and nothing else installed:
#   make demo    look at a synthetic 4D-STEM scan     (ARGS="--once --offscreen": tour by itself, no display)
#   make test    the whole test suite                 (ARGS="-k name": a part of it)
# Another interpreter: make test PYTHON=/usr/bin/python3.12

ARGS =
PYTHON =
BIN = .venv/bin
OFFSCREEN = QT_QPA_PLATFORM=offscreen QT_FONT_DPI=96

.PHONY: help demo test bench bench-folders lint types floors lock environment clean

help:
	@sed -n '1,4s/^# \{0,1\}//p' Makefile
	@echo "  make bench   benchmarks against their floors      make lint types floors   static checks"
	@echo "  make bench-folders   the same for folders of thousands of files"
	@echo "  make lock    pin the newest versions allowed      make clean               remove .venv"

environment:
	@PYTHON="$(PYTHON)" sh .ci/environment

demo: environment
	@$(if $(findstring --offscreen,$(ARGS)),QT_QPA_PLATFORM=offscreen) sh .ci/qt-libraries $(BIN)/python
	$(BIN)/python -m tiled_spyde.cli demo $(ARGS)

test: environment
	@$(OFFSCREEN) sh .ci/qt-libraries $(BIN)/python
	$(OFFSCREEN) $(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

bench: environment
	$(BIN)/python -m benchmarks $(ARGS)

bench-folders: environment
	$(BIN)/python -m benchmarks.folders $(ARGS)

lint: environment
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: environment
	$(BIN)/python -m mypy

floors: environment
	$(BIN)/lint-imports

lock:
	@PYTHON="$(PYTHON)" sh .ci/lock

clean:
	rm -rf .venv
