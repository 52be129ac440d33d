"""Put a vouched-for model where the model server finds it, whole or not at all."""
