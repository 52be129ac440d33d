"""Who runs the graph, a file each."""
