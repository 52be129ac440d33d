"""A model's status and metadata as protobuf's C++ library prints them in JSON (contract, section 4)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

if TYPE_CHECKING:
    from serving.server.core.inference import Metadata
    from serving.server.core.versions import VersionStatus


def status_json(versions: Iterable[VersionStatus]) -> bytes:
    """Return the body of a status answer: int64 as text, defaults printed."""
    found = [
        {
            "version": str(version.version),
            "state": version.state.name,
            "status": {"error_code": version.code.name, "error_message": version.message},
        }
        for version in versions
    ]
    return _printed({"model_version_status": found})


def metadata_json(metadata: Metadata) -> bytes:
    """Return the body of a metadata answer: proto field names, every field without presence printed."""
    from tensorflow_serving.apis import get_model_metadata_pb2

    message = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in metadata.signature_defs.items():
        message.signature_def[name].CopyFrom(definition)
    spec = {"name": metadata.spec.name, "signature_name": "", "version": str(metadata.spec.version)}
    return _printed({"model_spec": spec, "metadata": {"signature_def": _as_dict(message)}})


def _as_dict(message: Any) -> dict[str, Any]:
    options = {"preserving_proto_field_name": True}
    try:
        found: dict[str, Any] = json_format.MessageToDict(message, always_print_fields_with_no_presence=True, **options)
    except TypeError:  # protobuf before 5 has another name for it
        found = json_format.MessageToDict(message, including_default_value_fields=True, **options)
    return found


def _printed(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"
