"""A PostgreSQL server of the tests' own, on a socket in a temporary folder; Debian's, run as `postgres` by root."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import skip_without

USER = "vouch"
WAIT_S = 60
QUICK = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "listen_addresses=", "max_connections=200")


@dataclass(frozen=True)
class PostgreSQL:
    """A server that runs; `folder` holds its socket."""

    programs: Path
    folder: Path

    def url(self, name: str) -> str:
        return f"postgresql://{USER}@/{name}?host={self.folder}"

    def new_database(self, template: str = "template1") -> str:
        """Make a database and return its address."""
        name = f"t{secrets.token_hex(6)}"
        self.run("createdb", "--template", template, name)
        return self.url(name)

    def run(self, program: str, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's clients against the server."""
        environment = {**os.environ, "PGHOST": str(self.folder), "PGUSER": USER}
        command = [str(self.programs / program), *arguments]
        return subprocess.run(command, env=environment, check=True, timeout=WAIT_S, text=True, **options)  # type: ignore[call-overload]


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Start a server; without PostgreSQL the test is skipped."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    owner: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to be run by root
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        owner = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    data, control = folder / "data", [*owner, str(programs / "pg_ctl"), "-w", "-t", str(WAIT_S), "-D", folder / "data"]

    def run(*command: object) -> None:
        subprocess.run([*map(str, command)], check=True, timeout=2 * WAIT_S, cwd=folder, stdout=subprocess.DEVNULL)

    try:
        run(
            *owner, programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"
        )
        options = [f"-k {folder}", *(f"-c {option}" for option in QUICK)]
        run(*control, "-l", folder / "log", "-o", " ".join(options), "start")
        try:
            yield PostgreSQL(programs, folder)
        finally:
            run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """Return where the programs are: Debian has them in a folder of their version, not on PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    on_path = shutil.which("initdb")
    if not on_path and not folders:
        skip_without("postgresql")
    return folders[-1] if folders else Path(str(on_path)).resolve().parent
