"""What was done to nodes: their history, their version, and what people say of them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add it; of what was made before, only the change that made it is known."""
    op.add_column("nodes", sa.Column("description", sa.Text))
    op.add_column("nodes", sa.Column("version", sa.BigInteger, nullable=False, server_default="0"))
    op.execute("UPDATE nodes SET version = made")
    op.create_table(
        "history",
        sa.Column("change", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("node", sa.Text, primary_key=True),
        sa.Column("tree", sa.Text, sa.ForeignKey("trees.id"), nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("by", sa.Text),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    op.create_index("history_of_tree", "history", ["tree", "change", "size"])
