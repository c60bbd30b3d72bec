"""Make small files of ``torch.save`` that show what tensors can be: types, views of one storage, older formats.

Made with Python 3.11.7 and torch 2.13.0, in an environment of its own::

    python -m venv venv && venv/bin/pip install torch==2.13.0 numpy==2.4.6
    venv/bin/python tests/zoo/make_torch.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent / "torch"
TYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
         "complex64", "complex128", "uint16", "uint32", "uint64")  # fmt: skip


def main():
    HERE.mkdir(exist_ok=True)
    torch.manual_seed(0)
    values = torch.tensor([0, 1, 1.5, 3, 100])
    tensors = {name: values.to(getattr(torch, name)) for name in TYPES}
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 3)
    grid = torch.arange(24.0).reshape(2, 3, 4)
    tensors |= {
        "grid": grid,
        "transposed": grid.permute(2, 0, 1),
        "slice": grid[1, :, 1:3],
        "expanded": values.expand(3, 5),
    }
    tensors["parameter"] = nn.Parameter(torch.randn(2, 2))
    torch.save(tensors, HERE / "tensors.pt")
    plain = {name: tensor.detach().to(torch.float32 if name == "bfloat16" else tensor.dtype).numpy()
             for name, tensor in tensors.items()}  # fmt: skip
    np.savez_compressed(HERE / "tensors.npz", **plain)
    torch.save(tensors["grid"], HERE / "legacy.pt", _use_new_zipfile_serialization=False)
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    torch.save(network, HERE / "module.pt")
    torch.jit.save(torch.jit.script(network), HERE / "script.pt")


if __name__ == "__main__":
    main()
