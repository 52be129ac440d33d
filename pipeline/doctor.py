"""Look the machine over before a run does: what is wrong, and the cure. Imports no TensorFlow; about half a second."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import click
from packaging.requirements import Requirement
from packaging.tags import parse_tag, sys_tags
from packaging.utils import canonicalize_name

from common.errors import EnvironmentProblem
from common.paths import MODEL_SERVER_GRPC, MODEL_SERVER_REST, WEB_PAGE, var_root

SLOW_WITHOUT_BYTECODE = ("tfx", "tensorflow", "apache_beam")
ROOT = Path(__file__).resolve().parent.parent
PORTS: Mapping[int, str] = {
    MODEL_SERVER_GRPC: "model server, gRPC",
    MODEL_SERVER_REST: "model server, REST",
    WEB_PAGE: "web page",
}
RUNNING = 2  # ml_metadata.proto.Execution.State
State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Installed:
    """A distribution in the environment; `tags` are those of its wheel, such as `cp311-cp311-manylinux2014_x86_64`."""

    version: str
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Machine:
    """What is looked at, as text and numbers, so that any machine can be described."""

    python: tuple[int, int, int]
    glibc: str
    platform: str
    cpu_flags: frozenset[str]
    memory_mb: int
    path: str
    writes_bytecode: bool
    supported_tags: frozenset[str] = field(repr=False)
    installed: Mapping[str, Installed] = field(repr=False)
    bytecode_missing: tuple[str, ...]

    @staticmethod
    def here() -> Machine:
        library, glibc = platform.libc_ver()
        return Machine(
            python=sys.version_info[:3],
            glibc=glibc if library == "glibc" else "",
            platform=f"{platform.system()} {platform.machine()}",
            cpu_flags=_cpu_flags(),
            memory_mb=_memory_mb(),
            path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            writes_bytecode=not sys.dont_write_bytecode,
            supported_tags=frozenset(str(tag) for tag in sys_tags()),
            installed=_installed(),
            bytecode_missing=_without_bytecode(SLOW_WITHOUT_BYTECODE),
        )


def _installed() -> dict[str, Installed]:
    """Read names, versions and wheel tags of the environment; the first on the search path counts, as in imports."""
    installed: dict[str, Installed] = {}
    for distribution in importlib.metadata.distributions():
        wheel = distribution.read_text("WHEEL") or ""
        # some builders write a whole set into one line, such as py3-none-manylinux2014_x86_64.musllinux_1_1_x86_64
        lines = re.findall(r"^Tag: (\S+)", wheel, flags=re.MULTILINE)
        tags = frozenset(str(tag) for line in lines for tag in parse_tag(line))
        installed.setdefault(canonicalize_name(distribution.metadata["Name"]), Installed(distribution.version, tags))
    return installed


def _without_bytecode(packages: Iterable[str]) -> tuple[str, ...]:
    """Name the packages whose first module has no bytecode beside it, without importing them."""
    missing = []
    for package in packages:
        for folder in sys.path:
            source = Path(folder) / package / "__init__.py"
            if source.is_file():
                cached = source.parent / "__pycache__" / f"__init__.{sys.implementation.cache_tag}.pyc"
                if not cached.is_file():
                    missing.append(package)
                break
    return tuple(missing)


def _cpu_flags() -> frozenset[str]:
    """Read the processor's features from Linux; empty where it does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    match = re.search(r"^flags\s*:(.*)$", text, flags=re.MULTILINE)
    return frozenset(match[1].split()) if match else frozenset()


def _memory_mb() -> int:
    """Return the memory that can still be had, in MB: the machine's or, if smaller, the container's (cgroup v2)."""
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        available = int(re.findall(r"MemAvailable:\s+(\d+)", text)[0]) * 1024
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
        if limit != "max":
            used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8"))
            available = min(available, int(limit) - used)
    except (OSError, IndexError):
        pass  # an old kernel or no cgroup: what is known stands
    return available // 2**20


METADATA_VERSION = 10  # of ML Metadata's tables, in both locked lines of TFX


@dataclass(frozen=True)
class Check:
    """One thing looked at. `cure` says what to do unless `state` is ok."""

    name: str
    state: State
    found: str
    cure: str = ""


def check_all(
    machine: Machine | None = None,
    *,
    var: Path | None = None,
    lock: Path = ROOT / "requirements.txt",
    ports: Mapping[int, str] = PORTS,
) -> list[Check]:
    """Check everything, in the order in which a person would mend it."""
    machine = machine or Machine.here()
    var = var or var_root()
    return [
        check_platform(machine.platform, machine.cpu_flags),
        check_python(machine.python, machine.glibc),
        check_packages(lock.read_text(encoding="utf-8"), machine.installed, machine.python),
        check_wheels(machine.installed, machine.supported_tags),
        check_bytecode(machine.bytecode_missing, writes_bytecode=machine.writes_bytecode),
        check_installer(machine.path),
        check_memory(machine.memory_mb),
        check_disk(var),
        check_writable(var),
        check_metadata(var / "metadata.sqlite"),
        *(check_port(port, user) for port, user in ports.items()),
        check_model_server(machine.path),
        check_docker(machine.path),
    ]


def exit_code(checks: Iterable[Check]) -> int:
    return EnvironmentProblem.exit_code if any(check.state == "fail" for check in checks) else 0


def render(checks: Iterable[Check]) -> str:
    """Return a table for a terminal, each cure under what it cures."""
    checks = list(checks)
    width = max((len(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        lines.append(f"{check.state:<4}  {check.name:<{width}}  {check.found}")
        if check.cure:
            lines.append(f"{'':<4}  {'':<{width}}  -> {check.cure}")
    bad = {state: sum(check.state == state for check in checks) for state in ("fail", "warn")}
    lines.append(f"{len(checks)} checks: {bad['fail']} failed, {bad['warn']} to know about")
    return "\n".join(lines)


def main() -> int:
    checks = check_all()
    click.echo(render(checks))
    return exit_code(checks)


def check_platform(system: str, cpu_flags: frozenset[str]) -> Check:
    """Check operating system and processor, such as `Linux x86_64`. Unknown (empty) flags pass."""
    if system != "Linux x86_64":
        return Check("machine", "fail", system, "TFX has wheels for Linux x86_64 only: use such a machine or container")
    if cpu_flags and "avx" not in cpu_flags:
        return Check(
            "machine", "fail", f"{system}, no AVX", "TensorFlow's wheels need a processor (or emulator) with AVX"
        )
    return Check("machine", "ok", system)


def check_python(version: tuple[int, int, int], glibc: str) -> Check:
    """Check that one of the two locked lines of TFX runs with this Python on this C library."""
    versions = f"Python {'.'.join(map(str, version))}, glibc {glibc or 'none'}"
    match = re.match(r"2\.(\d+)", glibc)
    if not match or int(match[1]) < 28:
        return Check("Python", "fail", versions, "the wheels need the GNU C library 2.28 or newer, so not Alpine")
    fitting = ["3.10", "3.11"] + (["3.12", "3.13"] if int(match[1]) >= 39 else [])
    if "{}.{}".format(*version) not in fitting:
        return Check("Python", "fail", versions, f"with glibc {glibc} use Python {', '.join(fitting)}: make setup")
    return Check("Python", "ok", versions)


def check_packages(lock: str, installed: Mapping[str, Installed], python: tuple[int, int, int]) -> Check:
    """Check that what is installed is what the lock's text says for this Python."""
    full = ".".join(map(str, python))
    environment = {"python_version": "{}.{}".format(*python), "python_full_version": full}
    locked: dict[str, str] = {}
    for line in lock.splitlines():
        if re.match(r"[A-Za-z0-9]", line):
            requirement = Requirement(line.rstrip(" \\"))
            if requirement.marker is None or requirement.marker.evaluate(environment):
                locked[canonicalize_name(requirement.name)] = next(iter(requirement.specifier)).version
    wrong = [
        f"{name} {installed[name].version if name in installed else 'missing'}, wanted {version}"
        for name, version in locked.items()
        if name not in installed or installed[name].version != version
    ]
    if wrong:
        return Check("packages", "fail", _some(wrong), "make setup")
    return Check("packages", "ok", f"{len(locked)} as locked, TFX {locked.get('tfx', 'none')}")


def check_wheels(installed: Mapping[str, Installed], supported: frozenset[str]) -> Check:
    """Check that what is installed was built for this machine: an environment copied from another was not."""
    wrong = [
        f"{name} ({sorted(wheel.tags)[0]})"
        for name, wheel in installed.items()
        if wheel.tags and not wheel.tags & supported
    ]
    if wrong:
        cure = "they were built for another Python or a newer glibc: rm -rf .venv && make setup"
        return Check("wheels", "fail", _some(wrong), cure)
    return Check("wheels", "ok", "all built for this machine")


def check_bytecode(missing: tuple[str, ...], *, writes_bytecode: bool) -> Check:
    """Check that importing TFX need not compile it each time (35 s instead of 10 s)."""
    if missing and not writes_bytecode:
        state = f"{', '.join(missing)} not compiled, and PYTHONDONTWRITEBYTECODE is set: every start is 30 s slower"
        return Check("bytecode", "warn", state, "make setup (it compiles), or unset PYTHONDONTWRITEBYTECODE")
    return Check("bytecode", "ok", "compiled at the first import" if missing else "compiled")


def check_installer(path: str) -> Check:
    installers = [name for name in ("uv", "pip", "pip3") if shutil.which(name, path=path)]
    if not installers:
        return Check("installer", "warn", "neither uv nor pip", "apt-get install python3-pip, then make setup")
    return Check("installer", "ok", installers[0])


def check_memory(available_mb: int, *, least_mb: int = 3000) -> Check:
    if available_mb < least_mb:
        cure = "close something, or give the container more: a run on a small table needs about 2 GB"
        return Check("memory", "warn", f"{available_mb} MB available", cure)
    return Check("memory", "ok", f"{available_mb} MB available")


def check_disk(folder: Path, *, least_mb: int = 500, good_mb: int = 2000) -> Check:
    """Check the space for artifacts and models where `folder` is, or will be."""
    free_mb = shutil.disk_usage(_existing(folder)).free // 2**20
    free, cure = f"{free_mb} MB free for {folder}", "free some space, or move run-time state: VOUCH_VAR=/other/disk"
    if free_mb < good_mb:
        return Check("disk", "fail" if free_mb < least_mb else "warn", free, cure)
    return Check("disk", "ok", free)


def check_writable(folder: Path) -> Check:
    """Check, by writing, that run-time state can be kept in `folder` (or made, in the folder above)."""
    place = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        cure = f"chown -R $(id -u) {place}, or move run-time state: VOUCH_VAR=/other/folder"
        return Check("var", "fail", f"cannot write in {place} ({error.strerror})", cure)
    return Check("var", "ok", f"{folder} is writable" if place == folder else f"{folder} will be made")


def check_metadata(file: Path, *, timeout_s: float = 0.3) -> Check:
    """Check ML Metadata's SQLite file, for at most twice `timeout_s`, and name executions that never ended."""
    name = "ML Metadata"
    if not file.exists():
        return Check(name, "ok", "none yet")
    restore = f"move {file} away (lineage and cache start anew; models stay) or restore a copy"
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=timeout_s)
    try:
        deadline = time.monotonic() + timeout_s
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if "interrupted" not in str(error):
                raise
            verdict = "ok"  # too large to read in time: the part that was read is sound
        if verdict != "ok":
            return Check(name, "fail", f"{file} is damaged: {verdict}", restore)
        connection.set_progress_handler(None, 0)
        (version,) = connection.execute("SELECT schema_version FROM MLMDEnv").fetchone()
        if version != METADATA_VERSION:
            wanted = f"{file} is of version {version}; the library installed reads {METADATA_VERSION}"
            return Check(name, "fail", wanted, f"use the environment that wrote it, or {restore}")
        query = "SELECT id FROM Execution WHERE last_known_state = ? ORDER BY id"
        open_ids = [str(row[0]) for row in connection.execute(query, (RUNNING,))]
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            cure = "wait for that run to end, or end it; two runs cannot share the file"
            return Check(name, "fail", f"{file} is locked by {_lock_holders(file)}", cure)
        return Check(name, "fail", f"{file}: {error}", restore)
    except sqlite3.DatabaseError as error:
        return Check(name, "fail", f"{file}: {error}", restore)
    finally:
        connection.close()
    if open_ids:
        cure = "normal while a run is going on; else it was killed, and the next run closes them"
        return Check(name, "warn", f"{file} is sound; executions still RUNNING: {_some(open_ids)}", cure)
    return Check(name, "ok", f"{file} is sound")


def check_port(port: int, user: str, *, host: str = "127.0.0.1") -> Check:
    name = f"port {port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            cure = f"see who holds it: ss -ltnp 'sport = :{port}'. Needed by: {user}"
            return Check(name, "warn", f"taken ({error.strerror})", cure)
    return Check(name, "ok", f"free ({user})")


def check_model_server(path: str) -> Check:
    binary = shutil.which("tensorflow_model_server", path=path)
    return Check("model server", "ok", binary or "no tensorflow_model_server on PATH: the embedded one")


def check_docker(path: str, *, timeout_s: float = 3.0) -> Check:
    """Check Docker's client and, by asking it, its engine."""
    client = shutil.which("docker", path=path)
    if client is None:
        return Check("Docker", "warn", "not installed", "needed for images and compose only: install Docker Engine")
    command = [client, "version", "--format", "{{.Server.Version}}"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("Docker", "warn", f"client does not answer ({error})", "needed for images and compose only")
    if result.returncode != 0:
        words = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Check(
            "Docker", "warn", f"client only: {words}", "start the engine if you want images: systemctl start docker"
        )
    return Check("Docker", "ok", f"engine {result.stdout.strip()}")


def _some(items: list[str], most: int = 5) -> str:
    """Join at most so many items, and count the rest."""
    rest = f" and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + rest


def _existing(folder: Path) -> Path:
    """Return the folder or its nearest ancestor that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _lock_holders(file: Path) -> str:
    """Name the processes that hold POSIX locks on a file, from Linux's list of locks."""
    inode = file.stat().st_ino
    try:
        lines = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
        pids = {fields[4] for fields in map(str.split, lines) if fields[-3].endswith(f":{inode}")}
        return ", ".join(f"process {pid} ({Path('/proc', pid, 'comm').read_text().strip()})" for pid in sorted(pids))
    except OSError:
        return "another process"
