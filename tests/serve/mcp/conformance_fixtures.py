"""A server with what the conformance suite asks for, behind the same endpoint and guards as mlret's own."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import mcp_types as types
from fastapi import FastAPI
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from mlret.serve.guards import Guards
from mlret.serve.mcp.mcp_endpoint import McpEndpoint


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# A PNG of one red point, and a WAV of one silent sample.
_PNG = b"\x89PNG\r\n\x1a\n" + b"".join(
    (
        _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)),
        _chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")),
        _chunk(b"IEND", b""),
    )
)
_WAV = b"RIFF" + struct.pack("<I4s4sIHHIIHH4sIh", 38, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 2, 0)
PNG, WAV = base64.b64encode(_PNG).decode(), base64.b64encode(_WAV).decode()
_ADDRESS = {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}
_SCHEMA_2020 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": _ADDRESS},
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
    "additionalProperties": False,
}


def _text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


def _embedded(uri: str, form: str, text: str) -> types.EmbeddedResource:
    resource = types.TextResourceContents(uri=uri, mime_type=form, text=text)
    return types.EmbeddedResource(type="resource", resource=resource)


_IMAGE = types.ImageContent(type="image", data=PNG, mime_type="image/png")
_RESULTS: dict[str, list[types.ContentBlock]] = {
    "test_simple_text": [_text("This is a simple text response for testing.")],
    "test_image_content": [_IMAGE],
    "test_audio_content": [types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")],
    "test_embedded_resource": [
        _embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    ],
    "test_multiple_content_types": [
        _text("Multiple content types test:"),
        _IMAGE,
        _embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ],
    "test_error_handling": [_text("This tool intentionally returns an error for testing")],
    "json_schema_2020_12_tool": [_text("JSON Schema 2020-12")],
}
_ARGUMENTS = {
    "test_simple_prompt": [],
    "test_prompt_with_arguments": ["arg1", "arg2"],
    "test_prompt_with_embedded_resource": ["resourceUri"],
    "test_prompt_with_image": [],
}
_RESOURCES = {"test://static-text": "text/plain", "test://static-binary": "image/png"}


async def _list_tools(context: Any, params: Any) -> types.ListToolsResult:
    plain = {"type": "object", "properties": {}}
    schemas = {"json_schema_2020_12_tool": _SCHEMA_2020}
    return types.ListToolsResult(
        tools=[
            types.Tool(name=name, description=f"The fixture {name}", input_schema=schemas.get(name, plain))
            for name in _RESULTS
        ]
    )


async def _call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    return types.CallToolResult(content=_RESULTS[params.name], is_error=params.name == "test_error_handling")


async def _list_resources(context: Any, params: Any) -> types.ListResourcesResult:
    return types.ListResourcesResult(
        resources=[
            types.Resource(uri=uri, name=uri, description=f"The fixture {uri}", mime_type=form)
            for uri, form in _RESOURCES.items()
        ]
    )


async def _list_templates(context: Any, params: Any) -> types.ListResourceTemplatesResult:
    one = types.ResourceTemplate(uri_template="test://template/{id}/data", name="template", description="A template")
    return types.ListResourceTemplatesResult(resource_templates=[one])


async def _read_resource(context: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    found: types.TextResourceContents | types.BlobResourceContents
    if uri == "test://static-binary":
        found = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)
    elif uri == "test://static-text":
        text = "This is the content of the static text resource."
        found = types.TextResourceContents(uri=uri, mime_type="text/plain", text=text)
    elif match := re.fullmatch(r"test://template/([^/]+)/data", uri):
        text = json.dumps({"id": match[1], "templateTest": True, "data": f"Data for ID: {match[1]}"})
        found = types.TextResourceContents(uri=uri, mime_type="application/json", text=text)
    else:
        raise MCPError(types.INVALID_PARAMS, f"there is no resource {uri}")
    return types.ReadResourceResult(contents=[found])


async def _list_prompts(context: Any, params: Any) -> types.ListPromptsResult:
    return types.ListPromptsResult(
        prompts=[
            types.Prompt(
                name=name,
                description=f"The fixture {name}",
                arguments=[types.PromptArgument(name=one, description=one, required=True) for one in arguments],
            )
            for name, arguments in _ARGUMENTS.items()
        ]
    )


async def _get_prompt(context: Any, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    given = params.arguments or {}
    contents: list[types.ContentBlock]
    if params.name == "test_prompt_with_arguments":
        contents = [_text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")]
    elif params.name == "test_prompt_with_embedded_resource":
        text = "Embedded resource content for testing."
        contents = [
            _embedded(given["resourceUri"], "text/plain", text),
            _text("Please process the embedded resource above."),
        ]
    elif params.name == "test_prompt_with_image":
        contents = [_IMAGE, _text("Please analyze the image above.")]
    else:
        contents = [_text("This is a simple prompt for testing.")]
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=one) for one in contents])


async def _complete(context: Any, params: types.CompleteRequestParams) -> types.CompleteResult:
    values = [one for one in ("paris", "park", "party") if one.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


def fixture_server() -> Server[Any]:
    """Return the server."""
    return Server(
        "fixtures",
        version="1",
        on_list_tools=_list_tools,
        on_call_tool=_call_tool,
        on_list_resources=_list_resources,
        on_list_resource_templates=_list_templates,
        on_read_resource=_read_resource,
        on_list_prompts=_list_prompts,
        on_get_prompt=_get_prompt,
        on_completion=_complete,
    )


def fixture_application(guards: Guards) -> FastAPI:
    """Return an application with nothing but the endpoint, behind the guards."""
    endpoint = McpEndpoint()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with endpoint.serving(fixture_server(), 1 << 20):
            yield

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.router.routes.append(endpoint.route)
    guards.protect(app)
    return app
