"""Results of the core as the messages of PredictionService and ModelService."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, get_model_status_pb2, regression_pb2

if TYPE_CHECKING:
    from serving.server.core.inference import Classified, Metadata, ModelSpec, Regressed
    from serving.server.core.versions import VersionStatus


def examples_of(message: Any) -> list[bytes]:
    """Return an Input's examples, serialized, the context merged in by putting its bytes before theirs."""
    kind = message.WhichOneof("kind")
    if kind is None:
        return []
    listed = getattr(message, kind)
    context = listed.context.SerializeToString() if kind == "example_list_with_context" else b""
    return [context + example.SerializeToString() for example in listed.examples]


def fill_spec(message: Any, spec: ModelSpec) -> None:
    """Name the model, version and signature that answered."""
    message.name = spec.name
    message.version.value = spec.version
    message.signature_name = spec.signature_name


def as_classifications(classified: Classified) -> Any:
    """Return a ClassificationResponse."""
    answer = classification_pb2.ClassificationResponse()
    fill_spec(answer.model_spec, classified.spec)
    answer.result.SetInParent()
    for row in classified.results:
        one = answer.result.classifications.add()
        for label, score in row:
            one.classes.add(label=label.decode("utf-8", "replace"), score=score)
    return answer


def as_regressions(regressed: Regressed) -> Any:
    """Return a RegressionResponse."""
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
    """Return a GetModelStatusResponse."""
    answer = get_model_status_pb2.GetModelStatusResponse()
    for version in versions:
        one = answer.model_version_status.add(version=version.version, state=int(version.state))
        one.status.error_code = int(version.code)
        one.status.error_message = version.message
    return answer
