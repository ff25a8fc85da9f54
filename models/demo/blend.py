#!/usr/bin/env python3
"""Weights between two checkpoints of one line: blend.py SHARE OUT.npz FIRST/weights-*.npz -- SECOND/weights-*.npz gives (1 - SHARE) first + SHARE second."""
import sys

import numpy as np


def load(paths):
    return {n: w.astype(np.float32) for p in paths for n, w in np.load(p).items()}


share, cut = float(sys.argv[1]), sys.argv.index("--")
first, second = load(sys.argv[3:cut]), load(sys.argv[cut + 1:])
np.savez(sys.argv[2], **{n: ((1 - share) * first[n] + share * second[n]).astype(np.float16) for n in first})
