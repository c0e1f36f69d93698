"""Seeded weights and the safetensors file format, for the scripts beside this file (numpy only)."""
import json
import struct

import numpy as np


class Weights(dict):
    """Hugging Face parameter names to float32 arrays that every storage type holds exactly."""

    def __init__(self, seed):
        super().__init__()
        self.random = np.random.default_rng(seed)

    def matrix(self, name, *shape, gain=1.0):
        fan_in = int(np.prod(shape[1:]))
        self.store(name, self.random.standard_normal(shape) * gain / np.sqrt(fan_in))

    def vector(self, name, size, center=0.0, deviation=0.1):
        self.store(name, center + self.random.standard_normal(size) * deviation)

    def store(self, name, values):
        # Seven mantissa bits and a modest exponent fit float32, float16 and bfloat16 alike.
        mantissa, exponent = np.frexp(np.asarray(values, np.float64))
        exact = np.ldexp(np.round(mantissa * 128) / 128, exponent)
        self[name] = np.where(np.abs(exact) < 2.0**-14, 0.0, exact).astype(np.float32)


def encode(array, dtype):
    if dtype == "BF16":
        return (np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return np.ascontiguousarray(array, {"F32": np.float32, "F16": np.float16, "I64": np.int64}[dtype])


def save(path, tensors, dtype=None):
    """dtype: of the float tensors. Integer arrays become I64."""
    header, blobs, at = {}, [], 0
    for name in sorted(tensors):
        array = np.asarray(tensors[name])
        kind = "I64" if array.dtype.kind in "iu" else (dtype or "F32")
        blob = encode(array, kind).tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def save_json(path, value):
    with open(path, "w", encoding="utf-8") as out:
        json.dump(value, out, indent=1, ensure_ascii=False)
        out.write("\n")
