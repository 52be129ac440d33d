"""The one way to speak to a model server, by REST or by gRPC; either speaks to TensorFlow Serving as to ours."""
