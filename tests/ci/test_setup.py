"""The real `.ci/setup` with the real uv, on a lock of stand-in wheels made here: no network, about a second each."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

SCRIPT = ROOT / ".ci" / "setup"
BASE_PYTHON = str(Path(sys.base_prefix) / "bin" / "python{}.{}".format(*sys.version_info))
UV = Path(sys.executable).parent / "uv"
IMPORTED = {"tfx": "tfx/components.py", "tft": "tensorflow_transform.py", "tfma": "tensorflow_model_analysis.py"}


@dataclass
class Project:
    """A folder with the script, two locks and the wheels they name; `tools` shadows the machine's programs."""

    root: Path
    tools: Path
    wheels: Path

    def wheel(self, name: str, version: str, files: dict[str, str]) -> str:
        """Make a wheel and return its line for a lock; files under `scripts/` are programs."""
        info, scripts = f"{name}-{version}.dist-info", f"{name}-{version}.data/scripts"
        files = {path.replace("scripts", scripts, 1): text for path, text in files.items()}
        files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in files)
        path = self.wheels / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for member, text in files.items():
                entry = zipfile.ZipInfo(member)
                entry.external_attr = 0o100755 << 16
                archive.writestr(entry, text)
        return (
            f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n    # via test\n"
        )

    def lock(self, version: str = "1.0", *, model_analysis: str = "class EvalConfig: ...\n") -> None:
        """Write both locks: what the script's proof imports, a tool, and a uv that writes its environment down."""
        texts = {"tfma": model_analysis}
        lines = [self.wheel(name, version, {path: texts.get(name, "")}) for name, path in IMPORTED.items()]
        uv = f'#!/bin/sh\nenv >"{self.root}/uv.env"\nexec "{UV}" "$@"\n'
        dev = [self.wheel("devtool", version, {"devtool.py": ""}), self.wheel("uv", "9.9.9", {"scripts/uv": uv})]
        (self.root / "requirements.txt").write_text("".join(lines), encoding="utf-8")
        (self.root / "requirements-mlflow.txt").write_text("", encoding="utf-8")
        (self.root / "requirements-dev.txt").write_text("".join(dev), encoding="utf-8")

    def program(self, name: str, body: str) -> None:
        """Put a program in front of the machine's own."""
        (self.tools / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (self.tools / name).chmod(0o755)

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start the script with a bare environment."""
        environment = {
            "PATH": f"{self.tools}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.root),
            "PYTHON": BASE_PYTHON,
            "PYTHONDONTWRITEBYTECODE": "1",
            "UV_CACHE_DIR": str(self.root / "cache"),
            "UV_NO_INDEX": "1",
            "UV_FIND_LINKS": str(self.wheels),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
        }
        return subprocess.Popen(
            [self.root / ".ci" / "setup", *arguments],
            env={**environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """Return the script's exit code and its words."""
        process = self.start(*arguments, **variables)
        words = process.communicate(timeout=120)[0]
        return process.returncode, words

    def installed(self) -> dict[str, str]:
        """Return name and version of what `.venv` holds."""
        found = self.root.glob(".venv/lib/python3.*/site-packages/*.dist-info")
        return dict(path.name.removesuffix(".dist-info").split("-") for path in found)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "a clone", tmp_path / "tools", tmp_path / "wheels")
    for folder in (made.root / ".ci", made.tools, made.wheels):
        folder.mkdir(parents=True)
    shutil.copy2(SCRIPT, made.root / ".ci" / "setup")
    made.program("df", "echo header; echo disk 1 1 99999 1% /")
    made.program("uv", f'exec "{UV}" "$@"')
    made.lock()
    return made


def test_a_bare_machine_gets_an_environment_and_the_next_run_has_nothing_to_do(project: Project) -> None:
    project.program("uv", "exit 1")  # as pyenv's shim of a version without uv does

    code, words = project.run()

    assert code == 0, words
    assert "uv 9.9.9 fetched by pip" in words
    assert project.installed() == {"tfx": "1.0", "tft": "1.0", "tfma": "1.0", "devtool": "1.0", "uv": "9.9.9"}
    assert list(project.root.glob(".venv/lib/python3.*/site-packages/tfx/__pycache__/*.pyc")), "bytecode is compiled"
    for name in ("python3", "uv", "pip"):
        project.program(name, "echo not wanted; exit 1")
    assert project.run() == (0, "")
    assert project.run("--check") == (0, "")


@pytest.mark.exhaustive
def test_a_changed_lock_is_brought_up_to_date_in_place(project: Project) -> None:
    project.run()
    mark = project.root / ".venv" / "mark"
    mark.touch()
    project.lock("2.0")

    assert project.run("--check") == (1, "")
    code, words = project.run()

    assert code == 0, words
    assert project.installed()["tfx"] == "2.0"
    assert mark.exists()


@pytest.mark.exhaustive
def test_an_environment_left_half_made_is_made_anew(project: Project) -> None:
    project.run()
    mark = project.root / ".venv" / "mark"
    mark.touch()
    (project.root / ".venv" / ".stamp").unlink()  # written last: a killed run leaves none

    code, words = project.run()

    assert code == 0, words
    assert not mark.exists()


@pytest.mark.exhaustive
def test_a_clone_that_was_moved_is_not_ready(project: Project) -> None:
    project.run()
    project.root = project.root.rename(project.root.with_name("moved"))

    assert project.run("--check") == (1, ""), "the programs in .venv/bin name the old place"


@pytest.mark.exhaustive
def test_of_two_at_once_one_works_and_the_other_waits(project: Project) -> None:
    both = [project.start(), project.start()]
    words = [process.communicate(timeout=120)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0], words
    assert "".join(words).count("packages installed") == 1


@pytest.mark.exhaustive
def test_no_dev_leaves_the_tools_out(project: Project) -> None:
    code, words = project.run("--no-dev")

    assert code == 0, words
    assert set(project.installed()) == set(IMPORTED)


@pytest.mark.parametrize("source", ["variables", "file"])
def test_pips_settings_hold_for_uv_too(project: Project, source: str) -> None:
    project.program("uv", "exit 1")
    settings = {"index-url": "http://127.0.0.1:9/simple", "cert": "/etc/authority.pem", "trusted-host": "127.0.0.1:9"}
    variables = {"PIP_" + name.upper().replace("-", "_"): value for name, value in settings.items()}
    if source == "file":
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        (project.root / "pip.conf").write_text("[global]\n" + "".join(lines), encoding="utf-8")
        variables = {"PIP_CONFIG_FILE": str(project.root / "pip.conf")}

    project.run(UV_HTTP_RETRIES="0", **variables)  # and fails, as nobody serves that index

    seen = (project.root / "uv.env").read_text(encoding="utf-8").splitlines()
    assert "UV_DEFAULT_INDEX=http://127.0.0.1:9/simple" in seen
    assert "SSL_CERT_FILE=/etc/authority.pem" in seen
    assert "UV_INSECURE_HOST=127.0.0.1:9" in seen


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        pytest.param("uname", 'test "$1" = -s && echo Darwin || echo arm64', "Linux x86_64 only", id="mac"),
        pytest.param("getconf", "exit 1", "GNU C library", id="musl"),
        pytest.param("getconf", "echo glibc 2.27", "2.28 or newer", id="glibc ancient"),
        pytest.param("df", "echo header; echo disk 1 1 512 1% /", "512 MB free", id="disk full"),
    ],
)
def test_a_machine_that_cannot_do_it_is_told_why_and_what_to_do(
    project: Project, name: str, body: str, words: str
) -> None:
    project.program(name, body)

    code, said = project.run()

    assert code == 1
    assert words in said
    assert "next: " in said
    assert not (project.root / ".venv").exists()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param("echo is Python 3.9", "is Python 3.9; with glibc", id="version"),
        pytest.param("exit 0", "says nothing", id="no python"),
    ],
)
def test_an_interpreter_that_does_not_fit_is_refused(project: Project, body: str, words: str) -> None:
    project.program("odd-python", body)

    code, said = project.run(PYTHON="odd-python")

    assert code == 1
    assert words in said


def test_an_old_glibc_narrows_and_a_new_one_widens_the_choice(project: Project) -> None:
    project.program("odd-python", "echo is Python 3.9")
    project.program("getconf", "echo glibc 2.39")
    assert "3.13 3.12 3.11 3.10 is needed" in project.run(PYTHON="odd-python")[1]

    project.program("getconf", "echo glibc 2.38")
    assert "one of Python 3.11 3.10 is needed" in project.run(PYTHON="odd-python")[1]


def test_a_wheel_that_is_not_the_locked_one_is_refused(project: Project) -> None:
    project.wheel("tfx", "1.0", {"tfx/components.py": "import os\n"})

    code, words = project.run()

    assert code == 1
    assert "could not be installed" in words
    assert project.run("--check")[0] == 1, "an environment that failed never counts as ready"


@pytest.mark.exhaustive
def test_packages_that_do_not_import_are_refused(project: Project) -> None:
    project.lock(model_analysis="")  # as TFMA is when it swallowed an ImportError

    code, words = project.run()

    assert code == 1
    assert "TFX does not import" in words
    assert "EvalConfig" in words


def test_an_unknown_option_is_refused(project: Project) -> None:
    code, words = project.run("--frobnicate")

    assert code == 1
    assert "--frobnicate" in words
