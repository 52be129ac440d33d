"""Pictures: files that were left out, copies of one another, and labels told by what stands around a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from components.data_gate.checks.label_leak import FOLDS, balanced_accuracy, encode
from components.data_gate.judge import RawFinding
from components.examples.seen import Seen

LEAST_OF_CLASS = 10
UNUSUAL = 0.9  # from here on what stands around a picture is told of, though it be no leak
SHOWN = 5


def picture_files(seen: Seen) -> list[RawFinding]:
    """Tell of files that are not in the examples, and of pictures that are nearly the same."""
    findings = []
    if seen.skipped_files:
        examples = "; ".join(f"{each.path}: {each.sentence}" for each in seen.skipped[:SHOWN])
        findings.append(
            RawFinding(
                "IMAGE_UNREADABLE",
                f"{seen.skipped_files} of {seen.files} files could not be read and were left out: {examples}",
                cure="Mend or remove them; image.bad_files: refuse stops the run instead",
                details={"files": seen.skipped_files, "kinds": sorted({each.kind for each in seen.skipped})},
            )
        )
    if seen.outside:
        folders = ", ".join(f"{folder} ({count})" for folder, count in [*seen.outside.items()][:SHOWN])
        findings.append(
            RawFinding(
                "IMAGE_OUTSIDE_CLASSES",
                f"{sum(seen.outside.values())} of {seen.files} files lie in no class's folder and were left out: "
                f"{folders}",
                cure="Sort them into folders, or list their folder in data.classes",
                details={"files": sum(seen.outside.values())},
            )
        )
    if seen.alike_files:
        text = f"{seen.alike_files} pictures are nearly the same as another: they go to one split"
        findings.append(RawFinding("IMAGE_NEAR_DUPLICATES", text, details={"files": seen.alike_files}))
    if seen.large:
        findings.append(
            RawFinding(
                "IMAGE_LARGE_GROUP",
                f"{seen.large} of {seen.files} pictures are nearly the same, too many to keep in one split: what is "
                "measured on one split has partly been seen in another",
                cure="Keep a few of them; the report shows which",
                details={"files": seen.large},
            )
        )
    return findings


def header_leaks(sample: Mapping[str, Any], label: str, threshold: float, seed: int) -> list[RawFinding]:
    """Predict the label from what stands around a picture: size, aspect, bytes, EXIF and the colour of its border.

    `sample`: `{column: flat Arrow array}`, the label among them. Scored by balanced accuracy, five-fold.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    if label not in sample:
        return []
    labels = encode(sample[label])
    counts = np.bincount(labels[labels >= 0], minlength=1)
    kept = np.flatnonzero((labels >= 0) & (counts[np.maximum(labels, 0)] >= LEAST_OF_CLASS))
    classes = np.unique(labels[kept], return_inverse=True)[1].astype(np.int64)
    if len(kept) == 0 or classes.max() < 1:
        return []
    names = [name for name in sample if name != label]
    x = np.stack([np.asarray(sample[name].to_numpy(zero_copy_only=False), np.float32)[kept] for name in names], axis=1)
    forest = RandomForestClassifier(50, max_depth=6, class_weight="balanced", random_state=seed)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    score = balanced_accuracy(np.asarray(cross_val_predict(forest, x, classes, cv=folds)), classes)
    if score < min(UNUSUAL, threshold):
        return []
    most = names[int(np.argmax(forest.fit(x, classes).feature_importances_))]
    text = (
        f"Size, bytes, EXIF and border tell {label!r} without a look at the picture, {most} most of all: balanced "
        f"accuracy {score:.3f}, cross-validated on {len(kept)} pictures of train"
    )
    cure = "A network would learn it, and fail on pictures from elsewhere: save all classes alike"
    details = {"balanced_accuracy": round(score, 6), "most": most, "rows": len(kept)}
    if score >= threshold:
        return [RawFinding("IMAGE_LEAK", text, cure=cure, details=details)]
    return [RawFinding("IMAGE_POSSIBLE_LEAK", text, cure=cure, details=details)]
