"""Tokens of many samples, which need not fit into memory."""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile

import torch
from jaxtyping import Float
from torch import Tensor

from jepa_core.errors import DataError

IN_MEMORY = 512 * 2**20
"""Tokens of more bytes than this are kept in a file."""

DTYPE = torch.float16
"""Wherever they are kept, so that where makes no difference."""


class TokenStore:
    """Takes tokens batch by batch; gives them back as one tensor, which may be a mapped file."""

    def __init__(self, most: int, what: str) -> None:
        """Room for at most `most` samples; `what` names them in messages."""
        self._most, self._what = most, what
        self._rows = 0
        self._tokens: Tensor | None = None

    def add(self, tokens: Float[Tensor, "batch tokens dim"]) -> None:
        """Keep them; the first ones tell the shape. Raises DataError where there is no room on the disk."""
        if self._tokens is None:
            self._tokens = self._room((self._most, *tokens.shape[1:]))
        end = self._rows + len(tokens)
        self._tokens[self._rows : end] = tokens
        self._rows = end

    def all(self) -> Float[Tensor, "samples tokens dim"]:
        """What was added, fp16, on the CPU."""
        assert self._tokens is not None
        return self._tokens[: self._rows]

    def _room(self, shape: tuple[int, ...]) -> Tensor:
        size = math.prod(shape)
        if size * DTYPE.itemsize <= IN_MEMORY:
            return torch.empty(shape, dtype=DTYPE)
        folder = tempfile.gettempdir()
        try:
            return mapped(size, folder).view(shape)
        except OSError as error:
            samples, tokens, dim = shape
            raise DataError(
                f"{self._what}: {samples:,} samples x {tokens:,} tokens x {dim:,} features need "
                f"{_gigabytes(size * DTYPE.itemsize)}, and {folder} has {_gigabytes(shutil.disk_usage(folder).free)} "
                f"free ({error}). Name a folder on a larger disk in the environment variable TMPDIR, take fewer "
                "samples, or use a probe of pooled features: --probe linear"
            ) from error


def mapped(size: int, folder: str) -> Float[Tensor, "size"]:
    """Uninitialised fp16 in a new file of `folder`, whose room is reserved at once; raises OSError where there is none.

    The file has no name after this, so nothing is left of it when the tensor or the process ends, however it ends.
    """
    with tempfile.NamedTemporaryFile(prefix="jepa-tokens-", dir=folder) as file:
        if size * DTYPE.itemsize > shutil.disk_usage(folder).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        # Without this a disk that fills up later ends the process by a signal: no error could be raised.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size * DTYPE.itemsize)
        return torch.from_file(file.name, shared=True, size=size, dtype=DTYPE)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
