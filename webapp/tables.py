"""The tables of the database, as the last of `migrations/` leaves them. Times are seconds since 1970, UTC."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

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
    Column("successor", String(32)),
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

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(64), nullable=False, index=True),
    Column("model", String(64), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("source", String(16), nullable=False),
    Column("sticky", String, nullable=False),
    Column("reference_column", String, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("worker", String(32)),  # who works at it, until `leased_until` unless it goes on
    Column("leased_until", Float),
    Column("rows", BigInteger, nullable=False),
    Column("share", Float, nullable=False),
    Column("result", Text),
)
