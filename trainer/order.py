"""Shuffles that need no memory: a number's place in a permutation of n numbers is computed, never looked up.

A Feistel network over the next power of four, whose rounds mix by SplitMix64's finaliser (Steele, Lea and Flood 2014, "Fast splittable
pseudorandom number generators"); what falls beyond n walks on until it is within (Black and Rogaway 2002, "Ciphers with arbitrary
finite domains"). Over few numbers such networks give some orders more often than others, so FEW are sorted by SplitMix64 itself.
"""

import numpy as np

ROUNDS = 6
FEW = 4_096
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def shuffled(numbers: np.ndarray, n: int, *seeds: int) -> np.ndarray:
    """Return where numbers below n go in the permutation that the seeds name (int64)."""
    keys = np.random.SeedSequence(seeds).generate_state(ROUNDS, np.uint64)
    if n <= FEW:
        drawn = _mixed(keys[0] + np.arange(1, n + 1, dtype=np.uint64) * _STEP)
        places: np.ndarray = np.argsort(drawn)[numbers]
        return places
    half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
    found = np.asarray(numbers, dtype=np.uint64)
    found = _turned(found, half, keys)
    while (beyond := found >= n).any():
        found[beyond] = _turned(found[beyond], half, keys)
    return found.astype(np.int64)


def _turned(numbers: np.ndarray, half: np.uint64, keys: np.ndarray) -> np.ndarray:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = numbers >> half, numbers & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right + key) & mask)
    return (left << half) | right


def _mixed(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * _MIX[0]
    values = (values ^ (values >> np.uint64(27))) * _MIX[1]
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed
