"""A Whisper and a Llama of published shapes with random weights, as Hugging Face folders: whisper-small, and Llama-3.2-1B
with as many layers as asked for. Tokenizers are the stand-ins': their tokens are among the vocabularies' first.

  python3 bench/peers/random_models.py FOLDER [--layers 6] [--precision bfloat16]

writes FOLDER/speech and FOLDER/llm.
"""
import argparse
import json
import pathlib
import shutil

import numpy as np

import tensor_files

STAND_INS = pathlib.Path(__file__).resolve().parents[2] / "models" / "stand-ins"
WHISPER = dict(d_model=768, encoder_attention_heads=12, encoder_ffn_dim=3072, encoder_layers=12, num_mel_bins=80,
               max_source_positions=1500, decoder_attention_heads=12, decoder_ffn_dim=3072, decoder_layers=1,
               max_target_positions=448)
LLAMA = dict(hidden_size=2048, intermediate_size=8192, num_attention_heads=32, num_key_value_heads=8, head_dim=64,
             vocab_size=128256, rope_theta=500000.0, max_position_embeddings=131072, tie_word_embeddings=True,
             rope_scaling=dict(rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                               original_max_position_embeddings=8192))


class Weights(dict):
    """Draws in float32 blocks: a gigabyte need not be there in float64."""

    def __init__(self, seed: int):
        super().__init__()
        self.random = np.random.default_rng(seed)

    def matrix(self, name: str, *shape: int) -> None:
        fan_in = int(np.prod(shape[1:]))
        self[name] = self.random.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(fan_in))

    def vector(self, name: str, size: int, value: float) -> None:
        self[name] = np.full(size, value, np.float32)


def whisper(config: dict, vocabulary: int) -> Weights:
    out = Weights(1)
    d = config["d_model"]

    def linear(name: str, rows: int, columns: int, bias: bool = True) -> None:
        out.matrix(name + ".weight", rows, columns)
        if bias:
            out.vector(name + ".bias", rows, 0.0)

    def norm(name: str) -> None:
        out.vector(name + ".weight", d, 1.0)
        out.vector(name + ".bias", d, 0.0)

    def attention(name: str) -> None:
        for part in ("q", "k", "v", "out"):
            linear(f"{name}.{part}_proj", d, d, bias=part != "k")

    out.matrix("model.encoder.conv1.weight", d, config["num_mel_bins"], 3)
    out.vector("model.encoder.conv1.bias", d, 0.0)
    out.matrix("model.encoder.conv2.weight", d, d, 3)
    out.vector("model.encoder.conv2.bias", d, 0.0)
    out.matrix("model.encoder.embed_positions.weight", config["max_source_positions"], d)
    out.matrix("model.decoder.embed_tokens.weight", vocabulary, d)
    out.matrix("model.decoder.embed_positions.weight", config["max_target_positions"], d)
    for side, attentions in (("encoder", ("self_attn",)), ("decoder", ("self_attn", "encoder_attn"))):
        for layer in range(config[f"{side}_layers"]):
            prefix = f"model.{side}.layers.{layer}"
            for name in attentions:
                attention(f"{prefix}.{name}")
                norm(f"{prefix}.{name}_layer_norm")
            linear(f"{prefix}.fc1", config[f"{side}_ffn_dim"], d)
            linear(f"{prefix}.fc2", d, config[f"{side}_ffn_dim"])
            norm(f"{prefix}.final_layer_norm")
        norm(f"model.{side}.layer_norm")
    return out


def llama(config: dict) -> Weights:
    out = Weights(2)
    d, inner = config["hidden_size"], config["intermediate_size"]
    query = config["num_attention_heads"] * config["head_dim"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    out.matrix("model.embed_tokens.weight", config["vocab_size"], d)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name, rows, columns in (("self_attn.q_proj", query, d), ("self_attn.k_proj", kv, d),
                                    ("self_attn.v_proj", kv, d), ("self_attn.o_proj", d, query),
                                    ("mlp.gate_proj", inner, d), ("mlp.up_proj", inner, d),
                                    ("mlp.down_proj", d, inner)):
            out.matrix(f"{prefix}{name}.weight", rows, columns)
        out.vector(prefix + "input_layernorm.weight", d, 1.0)
        out.vector(prefix + "post_attention_layernorm.weight", d, 1.0)
    out.vector("model.norm.weight", d, 1.0)
    return out


def write(folder: pathlib.Path, stand_in: pathlib.Path, changes: dict, make, dtype: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in stand_in.iterdir():
        if file.suffix == ".json" and file.name != "config.json":
            shutil.copy(file, folder / file.name)
    config = json.loads((stand_in / "config.json").read_text()) | changes
    tensor_files.save_json(folder / "config.json", config)
    tensor_files.save(folder / "model.safetensors", make(config), dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=6, help="of the Llama")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16", help="of the files")
    options = parser.parse_args()
    dtype = {"float32": "F32", "bfloat16": "BF16"}[options.precision]
    write(options.folder / "speech", STAND_INS / "speech", WHISPER,
          lambda config: whisper(config, config["vocab_size"]), dtype)
    write(options.folder / "llm", STAND_INS / "llm", LLAMA | dict(num_hidden_layers=options.layers), llama, dtype)


if __name__ == "__main__":
    main()
