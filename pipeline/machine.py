"""What a machine and its Python environment are, as values: read here, judged by `pipeline.doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.tags import parse_tag, sys_tags
from packaging.utils import canonicalize_name

SLOW_WITHOUT_BYTECODE = ("tfx", "tensorflow", "apache_beam")


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
        """Describe the machine and the environment this runs in."""
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
