"""What we are measured against: a plain Keras script, and MLflow's server in an environment of its own."""
