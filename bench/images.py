"""How well images are told apart: Fashion-MNIST (Debian's `dataset-fashion-mnist`) and scikit-learn's digits.

`python -m bench.images [NAME …] --output FILE`. Each goes through the whole pipeline, gates included, and stands beside
the best plain model on the same pictures. The weights of ImageNet must be there: `make weights`.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from common.paths import var_root

ROOT = Path(__file__).resolve().parent.parent
FASHION = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
TIMEOUT_S = 7200  # on a machine that others use, too
Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class Trial:
    """`each`: pictures of a class in train and eval; `test`: of a class in test; `settings`: of model and image."""

    source: str
    each: int
    test: int
    model: dict[str, Any]
    image: dict[str, Any] = field(default_factory=dict)


CNN = {"kind": "cnn", "learning_rate": 2e-3, "learning_rate_schedule": "cosine", "batch_size": 32}
LITE = {"kind": "efficientnet_lite0", "weights": "imagenet", "learning_rate": 1e-3, "epochs": 60, "batch_size": 32}
TRIALS = {
    "fashion_cnn": Trial(
        "fashion", 1250, 200, CNN | {"epochs": 15, "batch_size": 64}, {"size": 32, "augmentation": "none"}
    ),
    "fashion_50_cnn": Trial("fashion", 50, 100, CNN | {"epochs": 60}, {"size": 32}),
    "fashion_50_efficientnet": Trial("fashion", 50, 100, LITE, {"size": 128, "none_of_these": 0.05}),
    "digits_cnn": Trial("digits", 130, 40, CNN | {"epochs": 30}, {"size": 32, "augmentation": "shift"}),
}


def fashion(part: str) -> Arrays:
    """Return `[pictures, 28, 28]` and their classes. `part`: train or t10k."""
    images = gzip.decompress((FASHION / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((FASHION / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    pictures = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28)
    return pictures, np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)


def digits() -> Arrays:
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images * 15.9).astype(np.uint8), data.target.astype(np.int64)


def write(folder: Path, trial: Trial) -> tuple[str, ...]:
    """Write pictures as PNG, a folder for each class, and return the classes."""
    pictures, labels = fashion("train") if trial.source == "fashion" else digits()
    names = CLASSES if trial.source == "fashion" else tuple(f"digit {i}" for i in range(10))
    for index, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in np.flatnonzero(labels == index)[: trial.each + trial.test]:
            Image.fromarray(pictures[number]).save(folder / name / f"{number:05d}.png")
    return names


def run(name: str, trial: Trial) -> dict[str, Any]:
    """Run the pipeline on a trial and return what its report says."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        classes = write(folder / "pictures", trial)
        train = round(0.8 * trial.each)
        settings = {
            "name": name,
            "data": {"source": str(folder / "pictures"), "format": "images", "classes": [*classes]},
            "split": {"train": train, "eval": trial.each - train, "test": trial.test},
            "image": {"augmentation": "flip", **trial.image},
            "model": trial.model,
            "evaluation": {"metrics": ["auc", "f1", "accuracy", "example_count"]},
            "probe": {"max_latency_ms": 2000.0},
        }
        (folder / "pipeline.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        (folder / "var").mkdir()
        (folder / "var" / "weights").symlink_to(var_root().resolve() / "weights")
        started, cpu = time.monotonic(), _cpu_seconds()
        command = [sys.executable, str(ROOT / "local_runner.py"), "run", str(folder)]
        environment = {**os.environ, "VOUCH_VAR": str(folder / "var")}
        done = subprocess.run(
            command,
            env=environment,
            cwd=ROOT,
            timeout=TIMEOUT_S,
            text=True,
            capture_output=True,
            check=False,  # a run that a gate refuses has a report, too, which is told; one without is an error below
        )
        reports = sorted((folder / "var" / "pipeline" / name).glob("RunReport/report/*/report.json"))
        if not reports:
            raise click.ClickException(f"{name}: {done.stdout}{done.stderr}")
        report = json.loads(reports[-1].read_text(encoding="utf-8"))
        took = {"seconds": round(time.monotonic() - started), "cpu_seconds": round(_cpu_seconds() - cpu)}
        return {"trial": name, **took, "exit_code": done.returncode} | told(report)


def _cpu_seconds() -> float:
    """Return what all runs so far have kept CPUs busy: what others do on the machine does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def told(report: dict[str, Any]) -> dict[str, Any]:
    """Return accuracy and macro F1 of the network with their bounds, and the best accuracy of a plain model."""
    of_network = {metric["name"]: metric for metric in report["metrics"]}
    plain = {
        model["name"]: metric["value"]
        for model in report["baselines"]
        for metric in model["metrics"]
        if metric["name"] == "accuracy"
    }
    best = max(plain, key=lambda name: plain[name])
    bounds = {
        name: [round(of_network[name][key], 4) for key in ("value", "lower", "upper")] for name in ("accuracy", "f1")
    }
    alike = report["pictures"]["alike_files"]
    gates = {verdict["gate"]: verdict["passed"] for verdict in report["verdicts"]}
    rows = {split["name"]: split["rows"] for split in report["splits"]}
    return {**bounds, "plain": [best, round(plain[best], 4)], "alike": alike, "gates": gates, "rows": rows}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*TRIALS]))
@click.option("--output", type=click.Path(path_type=Path), help="JSON lines, one a trial.")
def main(names: tuple[str, ...], output: Path | None) -> None:
    """Run trials, all of them by default."""
    for name in names or TRIALS:
        line = json.dumps(run(name, TRIALS[name]))
        click.echo(line)
        if output:
            with output.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
