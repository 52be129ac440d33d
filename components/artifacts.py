"""Artifact types of our own in ML Metadata."""

from __future__ import annotations

from tfx.types.artifact import Artifact

from components.names import REPORT_TYPE, VERDICT_TYPE


class VerdictArtifact(Artifact):
    """A folder with a gate's `verdict.json` and whatever rows it exported."""

    TYPE_NAME = VERDICT_TYPE


class ReportArtifact(Artifact):
    """A folder with a run's report: HTML, JSON, XLSX, PNG and the model card."""

    TYPE_NAME = REPORT_TYPE
