"""The data gate: what TFDV found, lost rows and leaks stop a run before anything is fitted."""
