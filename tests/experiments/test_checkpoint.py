"""Checkpoints: what goes in comes out; anything else is refused in one sentence and nothing is run."""

import dataclasses
import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daif.experiments import checkpoint as module
from daif.experiments.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint


def example() -> Checkpoint:
    generator = torch.Generator().manual_seed(3)
    return Checkpoint(
        env="CartPole-v1",
        agent="ppo",
        spaces="Box -> Discrete(2)",
        epoch=7,
        decisions=7000,
        tensors={
            "policy": {"weight": torch.randn(3, 2, generator=generator)},
            "steps": 4,
            "state": generator.get_state(),
        },
        arrays={"memory": np.arange(12, dtype=np.float32).reshape(3, 4), "position": np.asarray(2)},
        metadata={"counters": {"n": 1}},
        progress={"best": 1.5},
    )


@pytest.fixture
def path(tmp_path):
    save_checkpoint(tmp_path / "latest.ckpt", example())
    return tmp_path / "latest.ckpt"


def assert_equal(a: Checkpoint, b: Checkpoint) -> None:
    assert torch.equal(a.tensors["policy"]["weight"], b.tensors["policy"]["weight"])
    assert torch.equal(a.tensors["state"], b.tensors["state"])
    assert {name: array.tolist() for name, array in a.arrays.items()} == {n: x.tolist() for n, x in b.arrays.items()}
    assert [getattr(a, f.name) for f in dataclasses.fields(a) if f.name not in ("tensors", "arrays")] == [
        getattr(b, f.name) for f in dataclasses.fields(b) if f.name not in ("tensors", "arrays")
    ]


def rewrite(path, change, compression=zipfile.ZIP_STORED):
    """Write the checkpoint anew with its members changed and the checksums made right again."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(members["metadata.json"])
    change(members, metadata)
    metadata["sha256"] = {
        name: module.hashlib.sha256(content).hexdigest() for name, content in members.items() if name != "metadata.json"
    }
    members["metadata.json"] = json.dumps(metadata).encode()
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_what_goes_in_comes_out(path):
    assert_equal(load_checkpoint(path, env="CartPole-v1", agent="ppo", spaces="Box -> Discrete(2)"), example())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_is_refused(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"is truncated, damaged|was not written by daif"):
        load_checkpoint(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_is_refused_or_harmless(path, data):
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    altered = path.with_name("altered.ckpt")
    altered.write_bytes(content)
    try:
        loaded = load_checkpoint(altered)
    except CheckpointError:
        return
    assert_equal(loaded, example())  # a byte that no reader looks at, such as a time stamp


@pytest.mark.parametrize(
    ("wanted", "named"),
    [({"env": "Acrobot-v1"}, "Acrobot-v1"), ({"agent": "dqn"}, "dqn"), ({"spaces": "Box -> Box"}, "Box -> Box")],
)
def test_another_environment_or_agent_is_refused(path, wanted, named):
    with pytest.raises(CheckpointError, match=named):
        load_checkpoint(path, **wanted)


def test_another_schema_version_is_refused(path):
    rewrite(path, lambda members, metadata: metadata.update(schema_version=99))
    with pytest.raises(CheckpointError, match="schema version 99"):
        load_checkpoint(path)


class _Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (self.target,))


def test_a_pickle_in_the_tensors_is_refused_and_not_run(path, tmp_path):
    target = str(tmp_path / "executed")

    def change(members, metadata):
        buffer = io.BytesIO()
        torch.save({"policy": _Bomb(target)}, buffer)
        members["tensors.pt"] = buffer.getvalue()

    rewrite(path, change)
    with pytest.raises(CheckpointError, match="cannot be read safely"):
        load_checkpoint(path)
    assert not os.path.exists(target)


def test_a_pickle_in_the_arrays_is_refused_and_not_run(path, tmp_path):
    target = str(tmp_path / "executed")

    def change(members, metadata):
        buffer = io.BytesIO()
        np.savez(buffer, memory=np.array([_Bomb(target)], dtype=object), allow_pickle=True)
        members["arrays.npz"] = buffer.getvalue()

    rewrite(path, change)
    with pytest.raises(CheckpointError, match="cannot be read safely"):
        load_checkpoint(path)
    assert not os.path.exists(target)


def test_a_compressed_member_is_refused(path):
    """A small file must not be able to fill the memory."""
    rewrite(path, lambda members, metadata: members.update({"arrays.npz": b"0" * 10_000_000}), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(CheckpointError, match="compressed"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"[1, 2]", b"{" * 100_000, b"\xff\xfe", pickle.dumps({"a": 1})])
def test_strange_metadata_is_refused(path, content):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["metadata.json"] = content
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_foreign_members_are_refused(path):
    rewrite(path, lambda members, metadata: members.update({"../outside": b"x"}))
    with pytest.raises(CheckpointError, match="lacks or adds"):
        load_checkpoint(path)


def test_missing_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt")


def test_a_crash_while_writing_leaves_the_last_good_one(path, monkeypatch):
    before = path.read_bytes()

    def crash(*_):
        raise OSError("disk full")

    monkeypatch.setattr(module.os, "fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, dataclasses.replace(example(), epoch=8))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
