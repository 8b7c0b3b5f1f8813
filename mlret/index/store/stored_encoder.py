"""The encoder of an index: how its manifest names it, and how it is loaded again."""

from __future__ import annotations

from pathlib import Path

from mlret.encoders.external import EXTERNAL, ExternalEncoder
from mlret.encoders.loading import BUNDLED_NAME
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.encoders.precision import INT8, Precision
from mlret.errors import FingerprintError
from mlret.index.storage.manifest import Manifest


def encoder_of(path: Path, manifest: Manifest) -> AnyEncoder:
    """Load the encoder that a manifest names.

    Parameters
    ----------
    path
        The folder of the index, for error messages.
    manifest
        The manifest of the index.

    Raises
    ------
    InputError
        If the encoder cannot be loaded.
    FingerprintError
        If the encoder has changed since the index was built.
    """
    if manifest.encoder.startswith(EXTERNAL):
        dims = manifest.settings.dims or manifest.dims
        encoder: AnyEncoder = ExternalEncoder(manifest.encoder, dims, manifest.similarity)
    else:
        precision: Precision = "int8" if manifest.fingerprint.endswith(INT8) else "auto"
        encoder = load_any_encoder(manifest.encoder, precision=precision, emulate=True)
    check_fingerprint(path, manifest, encoder)
    return encoder


def reference_of(encoder: AnyEncoder) -> str:
    """Return the name of an encoder for a manifest: a folder by its full path, so that it is found from anywhere."""
    return str(Path(encoder.name).resolve()) if Path(encoder.name).is_dir() else encoder.name


def check_fingerprint(path: Path, manifest: Manifest, encoder: AnyEncoder) -> None:
    """Raise if an encoder is not the one that an index was built with.

    Parameters
    ----------
    path
        The folder of the index, for error messages.
    manifest
        The manifest of the index.
    encoder
        The encoder.

    Raises
    ------
    FingerprintError
        If their fingerprints differ. The message names the command that encodes the stored texts again.
    """
    if encoder.fingerprint == manifest.fingerprint:
        return
    again = f"mlret index reembed {path}" if manifest.kind == "index" else f"mlret memory reembed --store {path}"
    if manifest.encoder == reference_of(encoder):
        model = "" if manifest.encoder == BUNDLED_NAME else f" --model {manifest.encoder}"
        raise FingerprintError(
            f"{path} was made with another version of the encoder {manifest.encoder} (fingerprint "
            f"{manifest.fingerprint}, now {encoder.fingerprint}); encode its texts again: {again} -o NEW{model}"
        )
    raise FingerprintError(
        f"{path} was built with the encoder {manifest.encoder} (fingerprint {manifest.fingerprint}), "
        f"not with {encoder.name} (fingerprint {encoder.fingerprint}); use the former, "
        f"or encode its texts again: {again} -o NEW --model {encoder.name}"
    )
