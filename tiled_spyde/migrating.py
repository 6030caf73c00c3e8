"""Bringing an older database up to date; imported only where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic.command import upgrade as run_steps
from alembic.config import Config
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

STEPS = Path(__file__).parent / "migrations"


def known_revisions() -> set[str]:
    """Revisions of the tables that this version can read or bring up to date."""
    return {step.revision for step in ScriptDirectory(str(STEPS)).walk_revisions()}


def upgrade(connection: Connection, version_table: str) -> None:
    """Bring the tables up to date, within the transaction that `connection` has begun."""
    config = Config(attributes={"connection": connection, "version_table": version_table})
    config.set_main_option("script_location", str(STEPS).replace("%", "%%"))
    run_steps(config, "head")
