"""What MLflow is told of runs, versions and releases, and the queue on disk that it is told from."""
