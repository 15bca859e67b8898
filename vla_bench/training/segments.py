"""From what each pixel shows to what each patch shows."""

import numpy as np
from numpy.typing import NDArray

_SHOWS_SHARE = 0.06  # a patch shows an item that covers at least this share of it


def shown_in_patches(segments: NDArray[np.uint8], patch_size: int, items: int) -> NDArray[np.float32]:
    """Return (rows, patches of all cameras, items): 1 where the patch shows the item.

    `segments` is (rows, cameras, H, W): 0 where a pixel shows none, k for the k-th item from 1.
    """
    rows, cameras, height, width = segments.shape
    blocks = segments.reshape(rows, cameras, height // patch_size, patch_size, width // patch_size, patch_size)
    blocks = blocks.transpose(0, 1, 2, 4, 3, 5).reshape(rows, -1, patch_size * patch_size)
    shares = [(blocks == item + 1).mean(axis=-1) for item in range(items)]
    shown: NDArray[np.float32] = (np.stack(shares, axis=-1) >= _SHOWS_SHARE).astype(np.float32)
    return shown
