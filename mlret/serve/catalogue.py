"""The open folders of the server, by the names that clients know them by."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlret.data.durable import fsync_folder
from mlret.encoders.external import ExternalEncoder
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.errors import InputError, MlretError, NotFound
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.storage.manifest import has_manifest, read_manifest
from mlret.index.store.stored_encoder import encoder_of
from mlret.index.vectors.space import Vectors
from mlret.serve.security.principal import no_index
from mlret.serve.settings import NAME, ServeSettings, check_name
from mlret.serve.work.encoding import EncoderQueue
from mlret.serve.work.handles import IndexHandle
