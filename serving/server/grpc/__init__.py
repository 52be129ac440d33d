"""TensorFlow Serving's gRPC API."""
