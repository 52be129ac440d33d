"""The data gate: what TFDV found, lost rows and leaks stop a run before anything is fitted."""

from components.data_gate.component import DataGate

__all__ = ["DataGate"]
