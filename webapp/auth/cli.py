"""`flask --app webapp users …`, `audit …`, `database …`. A password is read, never an argument: those are public."""

from __future__ import annotations

import getpass
import logging
from datetime import datetime
from typing import IO

import click
from flask.cli import AppGroup

from common.cli import Group
from webapp.auth.accounts import Accounts
from webapp.migrations import revision
from webapp.services import services
from webapp.types import Role


class AppCommands(Group, AppGroup):
    """Commands that have the app, and tell errors as our other command lines do."""


ROLES = click.Choice([role.name.lower() for role in Role if role], case_sensitive=False)
FIRST = "flask --app webapp users add NAME --role admin"
log = logging.getLogger(__name__)
user_commands = AppCommands("users", help="Add, list and change users.")
audit_commands = AppCommands("audit", help="Read and verify the audit log.")
database_commands = AppCommands("database", help="Look after the database.")
password_option = click.option(
    "--password-file",
    type=click.File(encoding="utf-8"),
    help="File that holds the password; - for standard input. Default: ask.",
)


def warn_without_users(accounts: Accounts) -> None:
    """Say how to add the first user if there is none: nobody could log in. Not said to who may be adding one."""
    if click.get_current_context(silent=True) is None and not accounts.users():
        log.warning("there is no user yet, so nobody can log in; add one: %s", FIRST)


@user_commands.command("add")
@click.argument("name")
@click.option("--role", type=ROLES, default="viewer", show_default=True)
@password_option
def add(name: str, role: str, password_file: IO[str] | None) -> None:
    """Add a user."""
    services().accounts.add(name, _password(password_file), Role[role.upper()], who=who_at_the_machine())
    click.echo(f"{name} is {role}")


@user_commands.command("list")
def show() -> None:
    """List all users."""
    for user in services().accounts.users():
        seen = _time(user.last_login) if user.last_login else "never logged in"
        click.echo(
            f"{user.name:<24} {user.role.name.lower():<9} {'disabled' if user.is_disabled else 'enabled':<9} {seen}"
        )


@user_commands.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Log a user out everywhere and let them in no more."""
    services().accounts.set_disabled(name, True, who=who_at_the_machine())
    click.echo(f"{name} is disabled")


@user_commands.command("enable")
@click.argument("name")
def enable(name: str) -> None:
    """Let a user in again."""
    services().accounts.set_disabled(name, False, who=who_at_the_machine())
    click.echo(f"{name} is enabled")


@user_commands.command("role")
@click.argument("name")
@click.argument("role", type=ROLES)
def role(name: str, role: str) -> None:
    """Change what a user may do."""
    services().accounts.set_role(name, Role[role.upper()], who=who_at_the_machine())
    click.echo(f"{name} is {role}")


@user_commands.command("password")
@click.argument("name")
@password_option
def password(name: str, password_file: IO[str] | None) -> None:
    """Change a user's password; they are logged out everywhere."""
    services().accounts.set_password(name, _password(password_file), who=who_at_the_machine())
    click.echo(f"the password of {name} is changed")


@audit_commands.command("show")
@click.option("--last", type=click.IntRange(min=1), default=50, show_default=True, help="So many of the last entries.")
def show_audit(last: int) -> None:
    """Show who did what."""
    for entry in services().accounts.audit.entries(last):
        click.echo(f"{entry.number:>6} {_time(entry.time)} {entry.who:<16} {entry.action:<16} {entry.detail}")


@audit_commands.command("verify")
def verify_audit() -> None:
    """Check that no entry was changed or removed."""
    click.echo(f"entries: {services().accounts.audit.verify()}, none changed")


@database_commands.command("migrate")
def migrate() -> None:
    """Bring the database up to date with this code."""
    with services().database.reading() as connection:
        click.echo(f"the database is at step {revision(connection)}")


def _password(file: IO[str] | None) -> str:
    if file is not None:
        return file.readline().rstrip("\r\n")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password


def who_at_the_machine() -> str:
    """Return who sits at the machine; nobody without access to the file can get here."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user without a name
        return "cli"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")
