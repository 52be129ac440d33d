"""The tables of accounts. Times are seconds since 1970, UTC."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Connection, Float, ForeignKey, Integer, LargeBinary, MetaData, String, Table

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("password_hash", String(255), nullable=False),
    Column("role", Integer, nullable=False),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("created", Float, nullable=False),
    Column("password_changed", Float, nullable=False),
    Column("last_login", Float),
)

# Only digests of what a browser or a program holds: whoever reads the file cannot log in with it.
sessions = Table(
    "sessions",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created", Float, nullable=False),
    Column("seen", Float, nullable=False),
    Column("address", String(64), nullable=False),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("jti", String(32), primary_key=True),
    Column("family", String(32), nullable=False, index=True),  # all that follow from one login
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("issued", Float, nullable=False),
    Column("expires", Float, nullable=False, index=True),
    Column("rotated", Float),
    Column("revoked", Float),
)

login_attempts = Table(
    "login_attempts",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),  # digest of an account, an address, or both
    Column("failures", Integer, nullable=False),
    Column("last", Float, nullable=False, index=True),
    Column("until", Float, nullable=False),
)

known_places = Table(
    "known_places",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),  # digest of an account and the network it logged in from
    Column("last", Float, nullable=False, index=True),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("who", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("detail", String, nullable=False),
    Column("digest", String(64), nullable=False),
)

APPEND_ONLY = tuple(
    f"CREATE TRIGGER IF NOT EXISTS audit_no_{change} BEFORE {change} ON audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    for change in ("UPDATE", "DELETE")
)


def create(connection: Connection) -> None:
    """Create what is not there yet."""
    metadata.create_all(connection)
    for statement in APPEND_ONLY:
        connection.exec_driver_sql(statement)
