"""The route that says what a token allows."""

from __future__ import annotations

from fastapi import APIRouter, Response
from starlette.responses import JSONResponse

from mlret.serve.operations.permissions import describe_permissions
from mlret.serve.routes.dependencies import Serving, problems
from mlret.serve.schemas.permission_models import Permissions
from mlret.serve.security.authentication import Caller

router = APIRouter(tags=["server"])


@router.get("/v1/token", summary="What the token allows", response_model=Permissions, responses=problems())
async def token(service: Serving, principal: Caller) -> Response:
    """Return the role of the token of this request, and the indexes and the part of the memory that it is for."""
    return JSONResponse(await describe_permissions(service, principal))
