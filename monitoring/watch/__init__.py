"""The watcher: it examines every released model at an interval, and tells Prometheus what it sees."""
