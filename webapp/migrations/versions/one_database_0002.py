"""Known places, if they are not there yet; successors of refresh tokens; true labels; jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    if not sa.inspect(op.get_bind()).has_table("known_places"):
        op.create_table(
            "known_places",
            sa.Column("key", sa.LargeBinary(32), primary_key=True),
            sa.Column("last", sa.Float, nullable=False, index=True),
        )
    op.add_column("refresh_tokens", sa.Column("successor", sa.String(32)))
    op.create_table(
        "feedback",
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("request_id", sa.String(64), primary_key=True),
        sa.Column("row", sa.BigInteger, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("predicted", sa.Float, nullable=False, index=True),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("time", sa.Float, nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False, index=True),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("sticky", sa.String, nullable=False),
        sa.Column("reference_column", sa.String, nullable=False),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(32)),
        sa.Column("leased_until", sa.Float),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("share", sa.Float, nullable=False),
        sa.Column("result", sa.Text),
    )
