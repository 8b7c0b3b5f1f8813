"""`mlret serve`: serve indexes and a memory over HTTP."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from mlret.cli.options import Option, SettingsOptions, takes_settings
from mlret.errors import missing_extra

try:
    from mlret.serve.settings import ServeSettings, named_folders
except ModuleNotFoundError as error:
    raise missing_extra(error) or error from error
