"""Host pushed models: the model server, its client, releases."""
