"""Pictures of strangers: decoded in a process of little power, predicted, kept for labelling."""
