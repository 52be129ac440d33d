"""Which version is stable, which is candidate: changed whole or not at all."""
