#!/usr/bin/env python3
"""Weights in 8 bits, 64 to a scale, so that a checkpoint fits where only little can be carried: pack8.py OUT.npz weights-*.npz, for train.py --init."""
import sys

import numpy as np

out = {}
for path in sys.argv[2:]:
    for name, w in np.load(path).items():
        if w.ndim < 2:
            out[name] = w
            continue
        g = w.astype(np.float32).reshape(w.shape[0], -1, 64)
        s = np.abs(g).max(-1) / 127
        out[name + ".q"] = np.rint(g / s[..., None]).astype(np.int8)
        out[name + ".s"] = s.astype(np.float16)
np.savez(sys.argv[1], **out)
