"""Llama-3-8B's shape in random bfloat16 weights, as Hugging Face publishes it: config.json, four shards and their index,
16.1 GB. The numbers are one random block over and over (norms are ones), so it is made as fast as the disk writes. The
tokenizer is the stand-ins': its tokens are among the vocabulary's first.

  python3 bench/peers/sharded_llama.py FOLDER [--layers 32]

Tensors lie as in the published files: dealt out to shards in the order of the layers, sorted by name within each.
"""
import argparse
import json
import math
import os
import pathlib
import random
import shutil
import struct

STAND_IN = pathlib.Path(__file__).resolve().parents[2] / "models" / "stand-ins" / "llm"
CONFIG = dict(architectures=["LlamaForCausalLM"], attention_bias=False, bos_token_id=128000, eos_token_id=128001,
              hidden_act="silu", hidden_size=4096, initializer_range=0.02, intermediate_size=14336,
              max_position_embeddings=8192, model_type="llama", num_attention_heads=32, num_hidden_layers=32,
              num_key_value_heads=8, pretraining_tp=1, rms_norm_eps=1e-05, rope_scaling=None, rope_theta=500000.0,
              tie_word_embeddings=False, torch_dtype="bfloat16", use_cache=True, vocab_size=128256)
SHARDS = 4
ELEMENT = 2  # bytes
BLOCK = 32 << 20


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """In the order of the layers."""
    d, inner = config["hidden_size"], config["intermediate_size"]
    kv = d // config["num_attention_heads"] * config["num_key_value_heads"]
    out = {"model.embed_tokens.weight": (config["vocab_size"], d)}
    for layer in range(config["num_hidden_layers"]):
        for name, *shape in (("self_attn.q_proj", d, d), ("self_attn.k_proj", kv, d), ("self_attn.v_proj", kv, d),
                             ("self_attn.o_proj", d, d), ("mlp.gate_proj", inner, d), ("mlp.up_proj", inner, d),
                             ("mlp.down_proj", d, inner), ("input_layernorm", d), ("post_attention_layernorm", d)):
            out[f"model.layers.{layer}.{name}.weight"] = tuple(shape)
    out["model.norm.weight"] = (d,)
    out["lm_head.weight"] = (config["vocab_size"], d)
    return out


def size(shape: tuple[int, ...]) -> int:
    return math.prod(shape) * ELEMENT


def deal(tensors: dict[str, tuple[int, ...]], limit: float) -> list[dict[str, tuple[int, ...]]]:
    """A new shard begins where the next tensor would exceed the limit, as transformers has it."""
    shards, used = [{}], 0
    for name, shape in tensors.items():
        if shards[-1] and used + size(shape) > limit:
            shards.append({})
            used = 0
        shards[-1][name] = shape
        used += size(shape)
    return shards


def random_block() -> bytes:
    """bfloat16 numbers of either sign from 1/128 to 1/32."""
    source = random.Random(1)
    block = bytearray(BLOCK)
    block[0::2] = source.randbytes(BLOCK // 2)
    block[1::2] = source.randbytes(BLOCK // 2).translate(bytes([0x3C, 0xBC] * 128))
    return bytes(block)


def write(path: pathlib.Path, shard: dict[str, tuple[int, ...]], block: bytes) -> None:
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(shard):
        header[name] = {"dtype": "BF16", "shape": shard[name], "data_offsets": [at, at + size(shard[name])]}
        at += size(shard[name])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(shard):
            left = size(shard[name])
            if len(shard[name]) == 1:
                out.write(b"\x80\x3f" * (left // ELEMENT))
                continue
            while left > 0:
                left -= out.write(memoryview(block)[:left])
        out.flush()
        os.fsync(out.fileno())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=CONFIG["num_hidden_layers"])
    options = parser.parse_args()
    config = CONFIG | dict(num_hidden_layers=options.layers)
    tensors = shapes(config)
    total = sum(map(size, tensors.values()))
    # 5 GB a shard, as published; of fewer layers as much less.
    whole = sum(map(size, shapes(CONFIG).values()))
    shards = deal(tensors, 5e9 * total / whole)
    if len(shards) != SHARDS:
        parser.error(f"{options.layers} layers come to {len(shards)} shards, not {SHARDS}")
    options.folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(STAND_IN / "tokenizer.json", options.folder)
    block, places = random_block(), {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{SHARDS:05}.safetensors"
        write(options.folder / name, shard, block)
        places |= dict.fromkeys(shard, name)
    index = dict(metadata=dict(total_size=total), weight_map=dict(sorted(places.items())))
    (options.folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (options.folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
