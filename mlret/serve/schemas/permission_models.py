"""The shape of what a token allows."""

from __future__ import annotations

from pydantic import BaseModel, Field

from mlret.serve.security.principal import Role


class Permissions(BaseModel):
    """What the token of the request allows on this server."""

    id: str = Field(description="The public part of the token, which lists and the log name.")
    name: str = Field(description="What the token was made for.")
    role: Role
    indexes: list[str] | None = Field(description="The indexes that it may use; null for all of them.")
    memory: bool = Field(description="Whether it may use the memory, and the server has one.")
    scope: dict[str, str] = Field(description="The part of the memory that it is bound to.")
    erase: bool = Field(description="Whether it may erase memories.")
    creates: bool = Field(description="Whether it may create indexes on this server.")
