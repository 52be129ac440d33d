"""The OpenAPI document as requests that are ready to be sent: a Postman collection, and a file for .http clients."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Response, current_app, request

from webapp.api.body import IMAGES
from webapp.api.openapi import IMAGE_MODELS, openapi
from webapp.api.routes import blueprint
from webapp.auth import requires
from webapp.services import services
from webapp.types import Role

POSTMAN_SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
JSON, CSV = "application/json", "text/csv"
PICTURE = "picture.jpg"
TOKEN = {"Authorization": "Bearer {{token}}"}


@dataclass(frozen=True)
class Ready:
    """One request; `{{baseUrl}}`, `{{token}}` and ids that only an answer can give are left to the reader."""

    name: str
    folder: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: str = ""
    file: str = ""  # on the reader's machine: sent as the body

    @property
    def url(self) -> str:
        return "{{baseUrl}}" + self.path + (f"?{urlencode(self.query, safe='{}')}" if self.query else "")


def ready_requests(document: dict[str, Any]) -> Iterator[Ready]:
    """Yield a request for each operation, and for each model where models differ."""
    schemas = document["components"]["schemas"]
    models = [name.removeprefix("Row_") for name in schemas if name.startswith("Row_")]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            headers = {"Accept": JSON} | (TOKEN if operation.get("security") else {})
            base = {"folder": operation["tags"][0], "method": method.upper(), "headers": headers}
            of_model = any(parameter["name"] in ("model", "name") for parameter in operation["parameters"])
            kinds = operation.get("requestBody", {}).get("content", {})
            if JSON in kinds:
                alternatives = _alternatives(kinds[JSON]["schema"], schemas)
                for schema in alternatives:
                    body = json.dumps(_example(schema, schemas), ensure_ascii=False, indent=2)
                    name = schema.get("title", operation["summary"]) if len(alternatives) > 1 else operation["summary"]
                    place = path.replace("{name}", models[0] if models else "{{model}}")
                    yield Ready(name, path=place, query={}, body=body, **_with(base, {"Content-Type": JSON}))
                continue
            if IMAGE_MODELS in operation:
                for model in operation[IMAGE_MODELS] or ["{{model}}"]:
                    name, kind = f"{operation['summary']} ({model})", {"Content-Type": IMAGES[0]}
                    yield Ready(name, path=path, query={"model": model}, file=PICTURE, **_with(base, kind))
                continue
            for model in models if of_model else [""]:
                place = path.replace("{name}", model).replace("{i}", "0").replace("{job_id}", "{{jobId}}")
                query = {"model": model} if model and "{name}" not in path else {}
                name = f"{operation['summary']} ({model})" if model else operation["summary"]
                if CSV in kinds:
                    body = _csv(_example(schemas[f"Row_{model}"], schemas)) if model else ""
                    yield Ready(name, path=place, query=query, body=body, **_with(base, {"Content-Type": CSV}))
                else:
                    yield Ready(name, path=place, query=query, **base)


def _with(base: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    return base | {"headers": base["headers"] | headers}


def _alternatives(schema: dict[str, Any], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    resolved = _resolved(schema, schemas)
    return [_resolved(each, schemas) for each in resolved.get("anyOf", [resolved])]


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    return schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Return a value as the schema's examples have it; of an object what is required, and what has an example."""
    schema = _resolved(schema, schemas)
    if "example" in schema:
        return schema["example"]
    if schema.get("examples") or schema.get("enum"):
        return (schema.get("examples") or schema["enum"])[0]
    if "properties" in schema:
        wanted = schema.get("required", ())
        return {
            name: _example(inner, schemas)
            for name, inner in schema["properties"].items()
            if name in wanted or "example" in inner or inner.get("examples")
        }
    if schema.get("type") == "array":
        return [_example(schema["items"], schemas)]
    return "" if schema.get("type") == "string" else schema.get("minimum", 0)


def _csv(row: dict[str, Any]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows((row.keys(), row.values()))
    return file.getvalue()


def postman(document: dict[str, Any], base_url: str) -> dict[str, Any]:
    """Return a Postman collection (format 2.1)."""
    folders: dict[str, list[Any]] = {}
    for each in ready_requests(document):
        item: dict[str, Any] = {
            "method": each.method,
            "url": each.url,
            "header": [{"key": key, "value": value} for key, value in each.headers.items()],
        }
        if each.file:
            item["body"] = {"mode": "file", "file": {"src": each.file}}
        if each.body:
            item["body"] = {"mode": "raw", "raw": each.body}
        folders.setdefault(each.folder, []).append({"name": each.name, "request": item})
    return {
        "info": {"name": document["info"]["title"], "schema": POSTMAN_SCHEMA},
        "item": [{"name": folder, "item": items} for folder, items in folders.items()],
        "variable": [{"key": "baseUrl", "value": base_url}, {"key": "token", "value": ""}],
    }


def http_file(document: dict[str, Any], base_url: str) -> str:
    """Return the requests as VS Code's REST client and JetBrains' HTTP client read them."""
    parts = [f"@baseUrl = {base_url}\n@token = \n"]
    for each in ready_requests(document):
        lines = [f"### {each.folder}: {each.name}", f"{each.method} {each.url}"]
        lines += [f"{key}: {value}" for key, value in each.headers.items()]
        parts.append(
            "\n".join([*lines, "", f"< ./{each.file}" if each.file else each.body.rstrip("\n")]).rstrip("\n") + "\n"
        )
    return "\n".join(parts)


@blueprint.get("/docs/vouch.postman_collection.json")
@requires(Role.VIEWER)
def postman_collection() -> Response:
    collection = postman(openapi(current_app, services()), request.url_root.rstrip("/"))
    return _attached(json.dumps(collection, ensure_ascii=False, indent=1), JSON, "vouch.postman_collection.json")


@blueprint.get("/docs/vouch.http")
@requires(Role.VIEWER)
def http_requests() -> Response:
    text = http_file(openapi(current_app, services()), request.url_root.rstrip("/"))
    return _attached(text, "text/plain", "vouch.http")


def _attached(text: str, kind: str, name: str) -> Response:
    response = Response(text, mimetype=kind)
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response
