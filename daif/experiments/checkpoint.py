"""Checkpoints: one file each, written so that a kill leaves the last good one, read without trusting it.

A checkpoint is an uncompressed zip file of three members: `tensors.pt` (`torch.save` of nested state dicts, loaded with
`weights_only=True`), `arrays.npz` (loaded with `allow_pickle=False`) and `metadata.json` (schema version, environment,
agent, the learner's own metadata and the SHA-256 of the other two). It is written to a temporary file beside its place,
flushed to the disk and renamed.
"""

import hashlib
import io
import json
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

SCHEMA_VERSION = 1
_MEMBERS = ("metadata.json", "tensors.pt", "arrays.npz")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message is one sentence."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds."""

    env: str
    """Id of the environment that the agent was trained on."""
    agent: str
    """Registered name of the agent."""
    spaces: str
    """The observation and action space in words, to refuse a checkpoint for other ones."""
    epoch: int
    """Epochs that were finished."""
    decisions: int
    """Environment decisions trained on."""
    tensors: dict[str, Any]
    """Nested state dicts."""
    arrays: dict[str, np.ndarray]
    """Arrays by name, such as a replay memory."""
    metadata: dict[str, Any]
    """The learner's JSON-able metadata."""
    progress: dict[str, Any]
    """The training loop's own state, such as the best score so far."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: temporary file, flush to the disk, rename."""
    tensors = io.BytesIO()
    torch.save(checkpoint.tensors, tensors)
    arrays = io.BytesIO()
    np.savez(arrays, allow_pickle=False, **checkpoint.arrays)
    contents = {"tensors.pt": tensors.getvalue(), "arrays.npz": arrays.getvalue()}
    metadata = {
        "schema_version": SCHEMA_VERSION,
        "env": checkpoint.env,
        "agent": checkpoint.agent,
        "spaces": checkpoint.spaces,
        "epoch": checkpoint.epoch,
        "decisions": checkpoint.decisions,
        "metadata": checkpoint.metadata,
        "progress": checkpoint.progress,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("metadata.json", json.dumps(metadata, indent=1))
        for name, content in contents.items():
            archive.writestr(name, content)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(
    path: Path, *, env: str | None = None, agent: str | None = None, spaces: str | None = None
) -> Checkpoint:
    """Read a checkpoint, or refuse it in one sentence.

    Args:
        path: the file.
        env: if given, the environment that it must have been trained on.
        agent: if given, the agent that it must hold.
        spaces: if given, the spaces that it must be for.

    Raises:
        CheckpointError: it is missing, truncated, altered, hostile, of another version, environment or agent.
    """
    metadata, contents = _read_members(path)
    if metadata.get("schema_version") != SCHEMA_VERSION:
        raise CheckpointError(
            f"Checkpoint {path} has schema version {metadata.get('schema_version')!r}; {SCHEMA_VERSION} is read."
        )
    for name, content in contents.items():
        if not isinstance(metadata.get("sha256"), dict) or (
            hashlib.sha256(content).hexdigest() != metadata["sha256"].get(name)
        ):
            raise CheckpointError(f"Checkpoint {path} is damaged: the checksum of its {name} does not match.")
    for what, wanted in (("env", env), ("agent", agent), ("spaces", spaces)):
        if wanted is not None and metadata.get(what) != wanted:
            name = {"env": "environment", "agent": "agent", "spaces": "spaces"}[what]
            raise CheckpointError(f"Checkpoint {path} is for the {name} {metadata.get(what)!r}, not for {wanted!r}.")
    try:
        return Checkpoint(
            env=str(metadata["env"]),
            agent=str(metadata["agent"]),
            spaces=str(metadata["spaces"]),
            epoch=int(metadata["epoch"]),
            decisions=int(metadata["decisions"]),
            tensors=_load_tensors(contents["tensors.pt"]),
            arrays=_load_arrays(contents["arrays.npz"]),
            metadata=dict(metadata["metadata"]),
            progress=dict(metadata["progress"]),
        )
    except Exception as error:  # whatever a parser trips over, the file is refused
        raise CheckpointError(
            f"Checkpoint {path} cannot be read safely ({type(error).__name__}); it is damaged or not from daif."
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at every moment either the old or the new content is there in full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_members(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}.")
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member for member in archive.infolist()}
            if sorted(members) != sorted(_MEMBERS) or len(archive.infolist()) != len(_MEMBERS):
                raise CheckpointError(f"Checkpoint {path} was not written by daif: it lacks or adds members.")
            # Stored members cannot unfold to more than the file itself, so that a small file cannot fill the memory.
            if any(m.compress_type != zipfile.ZIP_STORED or m.file_size > size for m in members.values()):
                raise CheckpointError(f"Checkpoint {path} was not written by daif: its members are compressed.")
            contents = {name: archive.read(name) for name in _MEMBERS}
        metadata = json.loads(contents.pop("metadata.json"))
    except CheckpointError:
        raise
    except Exception as error:  # zipfile raises many kinds on damaged files
        raise CheckpointError(
            f"Checkpoint {path} cannot be read ({type(error).__name__}); it is truncated, damaged or no checkpoint."
        ) from error
    if not isinstance(metadata, dict):
        raise CheckpointError(f"Checkpoint {path} was not written by daif: its metadata is not a mapping.")
    return metadata, contents


def _load_tensors(content: bytes) -> dict[str, Any]:
    tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(tensors, dict):
        raise TypeError("tensors.pt holds no mapping")
    return tensors


def _load_arrays(content: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("arrays.npz is compressed")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
