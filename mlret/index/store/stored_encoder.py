"""The encoder of an index: how its manifest names it, and how it is loaded again."""

from __future__ import annotations

from pathlib import Path

from mlret.encoders.external import EXTERNAL, ExternalEncoder
from mlret.encoders.loading import BUNDLED_NAME
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.errors import FingerprintError
from mlret.index.storage.manifest import Manifest

# What followed the fingerprint of an encoder whose vectors an earlier version computed in int8 in torch. Their least
# cosine to float32 was .995 to .998, less than the .999 of vectors that may be in one index.
_INT8 = "-int8"


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
        encoder = load_any_encoder(manifest.encoder)
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
    if manifest.fingerprint == encoder.fingerprint + _INT8:
        raise FingerprintError(
            f"{path} was encoded with {manifest.encoder} in the precision int8, which mlret no longer computes, "
            f"and whose vectors must not be compared with others; encode its texts again: {again} -o NEW"
        )
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
