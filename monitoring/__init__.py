"""What happens after a release: drift, simulated traffic, collected labels; rules and dashboards lie beside."""
