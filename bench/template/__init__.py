"""Rival (b): the same graph, written as the TFX templates (`tfx template copy`: taxi, penguin) write it."""
