"""A plain PyTorch loader of photos: processes that decode and resize with Pillow. They import nothing of JAX."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

MEAN = np.array([123.0, 117.0, 104.0], np.float32)


class Photos:
    """Picture files as a data set of PyTorch's: [size, size, 3] float32, less a mean."""

    def __init__(self, paths: Sequence[pathlib.Path], size: int) -> None:
        """Takes the files, and the side that they are resized to."""
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        """Returns the number of files."""
        return len(self.paths)

    def __getitem__(self, number: int) -> np.ndarray:
        """Reads a file."""
        from PIL import Image  # other rows do without it

        with Image.open(self.paths[number]) as photo:
            small = photo.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        return np.asarray(small, np.float32) - MEAN


def loader(torch: Any, photos: Photos, batch_size: int, workers: int) -> Any:
    """Makes a loader of batches [b, size, size, 3] float32 whose processes stay from pass to pass."""
    return torch.utils.data.DataLoader(
        photos,
        batch_size,
        num_workers=workers,
        collate_fn=np.stack,
        # A fork would copy a process that has threads.
        multiprocessing_context="spawn",
        persistent_workers=True,
    )
