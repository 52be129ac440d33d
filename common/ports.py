"""The ports that our programs listen on unless they are told otherwise."""

from __future__ import annotations

MODEL_SERVER_REST, MODEL_SERVER_GRPC = 8501, 8500  # TensorFlow Serving's own
WEB_PAGE = 8080
