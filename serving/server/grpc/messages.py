"""The core's model specs and results from and to the messages of PredictionService and ModelService."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    regression_pb2,
)

from serving.server.core.inference import ModelSpec
from serving.server.status import invalid_argument

if TYPE_CHECKING:
    from serving.server.core.inference import Classified, Metadata, Regressed
    from serving.server.core.versions import VersionStatus


def spec_of(message: Any) -> ModelSpec:
    """Return the model_spec of a request. Raises StatusError if there is none."""
    if not message.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    return as_spec(message.model_spec)


def as_spec(spec: model_pb2.ModelSpec) -> ModelSpec:
    """Return a ModelSpec message as the core takes it."""
    version = spec.version.value if spec.HasField("version") else None
    return ModelSpec(spec.name, version, spec.version_label or None, spec.signature_name)


def fill_spec(message: Any, spec: ModelSpec) -> None:
    """Name the model, version and signature that answered."""
    message.name = spec.name
    message.version.value = spec.version
    message.signature_name = spec.signature_name


def as_classifications(classified: Classified) -> Any:
    answer = classification_pb2.ClassificationResponse()
    fill_spec(answer.model_spec, classified.spec)
    answer.result.SetInParent()
    for row in classified.results:
        classifications = answer.result.classifications.add()
        for label, score in row:
            classifications.classes.add(label=label.decode("utf-8", "replace"), score=score)
    return answer


def as_regressions(regressed: Regressed) -> Any:
    answer = regression_pb2.RegressionResponse()
    fill_spec(answer.model_spec, regressed.spec)
    answer.result.SetInParent()
    for value in regressed.values:
        answer.result.regressions.add(value=value)
    return answer


def as_metadata(metadata: Metadata) -> Any:
    """Return a GetModelMetadataResponse with every signature."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in metadata.signature_defs.items():
        signatures.signature_def[name].CopyFrom(definition)
    answer = get_model_metadata_pb2.GetModelMetadataResponse()
    answer.model_spec.name = metadata.spec.name
    answer.model_spec.version.value = metadata.spec.version
    answer.metadata["signature_def"].Pack(signatures)
    return answer


def as_status_answer(versions: Iterable[VersionStatus]) -> Any:
    answer = get_model_status_pb2.GetModelStatusResponse()
    for version in versions:
        status = answer.model_version_status.add(version=version.version, state=int(version.state)).status
        status.error_code = int(version.code)
        status.error_message = version.message
    return answer
