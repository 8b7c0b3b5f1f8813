"""Public routes that say whether the server works, for supervisors and load balancers."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from mlret.serve.problems import Problem
from mlret.serve.routes.dependencies import Serving, public_problems

router = APIRouter(tags=["server"])


class Health(BaseModel):
    """The server works."""

    status: Literal["ok"] = "ok"


@router.get("/healthz", summary="Whether the server runs", responses=public_problems())
async def alive() -> Health:
    """Answer as long as the server answers at all. Restart it if it does not."""
    return Health()


@router.get(
    "/readyz",
    summary="Whether the server takes requests",
    responses=public_problems(),
)
async def ready(service: Serving) -> Health:
    """Answer with 503 while the server is starting or ending. A request is answered then, but perhaps slowly."""
    if service.state != "ready":
        raise Problem("unavailable", f"the server is {service.state}", retry_after=1)
    return Health()
