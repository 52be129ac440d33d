"""From raw columns to what the network reads, the same in training and serving."""
