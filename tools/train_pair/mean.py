"""The weighted mean of two sets of weights of one model (WiSE-FT, Wortsman et al., CVPR 2022).

``python -m tools.train_pair.mean BEFORE AFTER SHARE OUT.npz``; SHARE is that of AFTER. It gives
back much of what a model has forgotten of the data that it was trained on before.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tools.train_pair import names


def main(before: str, after: str, share: str, out: str) -> None:
    """Command line."""
    old, new, a = names.read(before), names.read(after), float(share)
    mean = {
        name: (old[name].astype(np.float32) * (1 - a) + array.astype(np.float32) * a)
        for name, array in new.items()
    }
    small = {k: v.astype(np.float16) if v.ndim > 1 else v for k, v in mean.items()}
    names.write(Path(out), small)


if __name__ == "__main__":
    main(*sys.argv[1:])
