"""Small random Llamas in Hugging Face layout, converted to GGUF and run by llama.cpp.

usage: llama_fixtures.py FOLDER_OF_LIBLLAMA OUTPUT_FOLDER
"""
import ctypes
import json
import math
import os
import struct
import sys
import tempfile

import numpy as np

import tensor_files

HIDDEN, INNER, LAYERS, VOCAB = 64, 128, 2, 320
SCALING = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 64}
CASES = [
    {"name": "llama-tied", "seed": 1, "heads": 4, "kv_heads": 2, "tied": True, "scaling": None,
     "theta": 10000.0, "dtype": "BF16", "shards": 1},
    {"name": "llama-untied", "seed": 2, "heads": 8, "kv_heads": 2, "tied": False, "scaling": None,
     "theta": 500000.0, "dtype": "F16", "shards": 2},
    {"name": "llama-scaled", "seed": 3, "heads": 2, "kv_heads": 1, "tied": True, "scaling": SCALING,
     "theta": 10000.0, "dtype": "BF16", "shards": 1},
]


def make_weights(case):
    weights = tensor_files.Weights(case["seed"])
    head_dim = HIDDEN // case["heads"]
    weights.matrix("model.embed_tokens.weight", VOCAB, HIDDEN)
    for i in range(LAYERS):
        root = f"model.layers.{i}."
        # Large query and key weights make attention choose, so that a wrong position shows.
        weights.matrix(root + "self_attn.q_proj.weight", HIDDEN, HIDDEN, gain=1.6)
        weights.matrix(root + "self_attn.k_proj.weight", case["kv_heads"] * head_dim, HIDDEN, gain=1.6)
        weights.matrix(root + "self_attn.v_proj.weight", case["kv_heads"] * head_dim, HIDDEN)
        weights.matrix(root + "self_attn.o_proj.weight", HIDDEN, HIDDEN)
        weights.matrix(root + "mlp.gate_proj.weight", INNER, HIDDEN)
        weights.matrix(root + "mlp.up_proj.weight", INNER, HIDDEN)
        weights.matrix(root + "mlp.down_proj.weight", HIDDEN, INNER)
        weights.vector(root + "input_layernorm.weight", HIDDEN, center=1.0)
        weights.vector(root + "post_attention_layernorm.weight", HIDDEN, center=1.0)
    weights.vector("model.norm.weight", HIDDEN, center=1.0)
    if not case["tied"]:
        weights.matrix("lm_head.weight", VOCAB, HIDDEN, gain=3.0)
    return weights


def write_folder(folder, case, weights):
    os.makedirs(folder, exist_ok=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB,
              "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
              "num_attention_heads": case["heads"], "num_key_value_heads": case["kv_heads"],
              "rms_norm_eps": 1e-5, "rope_theta": case["theta"], "rope_scaling": case["scaling"],
              "tie_word_embeddings": case["tied"], "max_position_embeddings": 256, "hidden_act": "silu"}
    tensor_files.save_json(os.path.join(folder, "config.json"), config)
    names = sorted(weights)
    if case["shards"] == 1:
        tensor_files.save(os.path.join(folder, "model.safetensors"), weights, case["dtype"])
        return
    index = {}
    for shard in range(case["shards"]):
        file = f"model-{shard + 1:05}-of-{case['shards']:05}.safetensors"
        part = {name: weights[name] for name in names[shard::case["shards"]]}
        tensor_files.save(os.path.join(folder, file), part, case["dtype"])
        index.update(dict.fromkeys(part, file))
    tensor_files.save_json(os.path.join(folder, "model.safetensors.index.json"),
                           {"metadata": {}, "weight_map": index})


# GGUF version 3 (ggml/docs/gguf.md): value types 4 = uint32, 6 = float32, 8 = string.
def gguf_string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf_value(key, value):
    if isinstance(value, str):
        return gguf_string(key) + struct.pack("<I", 8) + gguf_string(value)
    if isinstance(value, float):
        return gguf_string(key) + struct.pack("<If", 6, value)
    return gguf_string(key) + struct.pack("<II", 4, value)


def interleave(weight, heads):
    """Rows of a head from (halves) to (pairs), as llama.cpp's rotary embedding turns them."""
    return (weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
            .swapaxes(1, 2).reshape(weight.shape))


def rope_factors(scaling, theta, head_dim):
    context = scaling["original_max_position_embeddings"]
    low, high = context / scaling["low_freq_factor"], context / scaling["high_freq_factor"]
    factors = []
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * theta ** (i / head_dim)
        if wavelength < high:
            factors.append(1.0)
        elif wavelength > low:
            factors.append(scaling["factor"])
        else:
            smooth = ((context / wavelength - scaling["low_freq_factor"]) /
                      (scaling["high_freq_factor"] - scaling["low_freq_factor"]))
            factors.append(1.0 / ((1.0 - smooth) / scaling["factor"] + smooth))
    assert len(set(factors)) > 2, "the case must reach all three bands"
    return np.array(factors, np.float32)


def write_gguf(path, case, weights):
    values = {"general.architecture": "llama", "llama.vocab_size": VOCAB, "llama.context_length": 256,
              "llama.embedding_length": HIDDEN, "llama.feed_forward_length": INNER,
              "llama.block_count": LAYERS, "llama.attention.head_count": case["heads"],
              "llama.attention.head_count_kv": case["kv_heads"],
              "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": case["theta"],
              "llama.rope.dimension_count": HIDDEN // case["heads"], "tokenizer.ggml.model": "no_vocab"}
    short = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
             "post_attention_layernorm": "ffn_norm"}
    tensors = {}
    for name, array in weights.items():
        if name.startswith("model.layers."):
            _, _, index, rest = name.split(".", 3)
            rest = rest.removesuffix(".weight")
            if rest == "self_attn.q_proj":
                array = interleave(array, case["heads"])
            elif rest == "self_attn.k_proj":
                array = interleave(array, case["kv_heads"])
            tensors[f"blk.{index}.{short[rest]}.weight"] = array
        else:
            tensors[{"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight",
                     "model.norm.weight": "output_norm.weight"}[name]] = array
    if case["scaling"]:
        tensors["rope_freqs.weight"] = rope_factors(case["scaling"], case["theta"], HIDDEN // case["heads"])
    head = struct.pack("<IIQQ", 0x46554747, 3, len(tensors), len(values))
    head += b"".join(gguf_value(key, value) for key, value in values.items())
    data, offset = b"", 0
    for name, array in tensors.items():
        head += gguf_string(name) + struct.pack("<I", array.ndim)
        head += b"".join(struct.pack("<Q", size) for size in reversed(array.shape))
        head += struct.pack("<IQ", 0, offset)
        blob = np.ascontiguousarray(array, np.float32).tobytes()
        blob += b"\0" * (-len(blob) % 32)
        data += blob
        offset += len(blob)
    with open(path, "wb") as out:
        out.write(head + b"\0" * (-len(head) % 32) + data)


class Opaque(ctypes.Structure):
    """A parameter struct passed by value, larger than the library's own: only its head is read."""
    _fields_ = [("words", ctypes.c_int32 * 128)]


class Batch(ctypes.Structure):
    _fields_ = [("n_tokens", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)),
                ("embd", ctypes.c_void_p), ("pos", ctypes.POINTER(ctypes.c_int32)),
                ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
                ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
                ("logits", ctypes.POINTER(ctypes.c_int8))]


class LlamaCpp:
    def __init__(self, folder):
        def load(prefix):
            file = next(f for f in sorted(os.listdir(folder)) if f.startswith(prefix))
            return ctypes.CDLL(os.path.join(folder, file), mode=ctypes.RTLD_GLOBAL)
        load("libggml-base")
        ggml = load("libggml.")
        ggml.ggml_backend_load_all_from_path(folder.encode())
        self.lib = load("libllama.")
        for name in ("llama_model_default_params", "llama_context_default_params"):
            getattr(self.lib, name).restype = Opaque
        self.lib.llama_model_load_from_file.restype = ctypes.c_void_p
        self.lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Opaque]
        self.lib.llama_init_from_model.restype = ctypes.c_void_p
        self.lib.llama_init_from_model.argtypes = [ctypes.c_void_p, Opaque]
        self.lib.llama_batch_init.restype = Batch
        self.lib.llama_decode.argtypes = [ctypes.c_void_p, Batch]
        self.lib.llama_get_logits_ith.restype = ctypes.POINTER(ctypes.c_float)
        self.lib.llama_get_logits_ith.argtypes = [ctypes.c_void_p, ctypes.c_int32]

    def open(self, path):
        model = self.lib.llama_model_load_from_file(path.encode(), self.lib.llama_model_default_params())
        assert model, "llama.cpp did not read the GGUF file"
        params = self.lib.llama_context_default_params()
        self.exact_cache(params)
        context = self.lib.llama_init_from_model(model, params)
        assert context
        return context

    @staticmethod
    def exact_cache(params):
        """float32 keys and values, no flash attention: both default to half precision."""
        words = params.words
        pair = [i for i in range(14, 60) if words[i] == 1 and words[i + 1] == 1]
        minus = [i for i in range(4, 14) if words[i] == -1]
        assert len(pair) == 1 and len(minus) >= 4 and words[7] == words[8], "llama_context_params changed"
        words[pair[0]] = words[pair[0] + 1] = 0  # type_k, type_v: GGML_TYPE_F32
        words[minus[3]] = 0  # flash_attn_type: disabled
        words[7] = words[8] = 1  # n_threads, n_threads_batch

    def evaluate(self, context, tokens, first):
        batch = self.lib.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, first + i, 1
            batch.seq_id[i][0], batch.logits[i] = 0, 1
        assert self.lib.llama_decode(context, batch) == 0
        rows = [np.ctypeslib.as_array(self.lib.llama_get_logits_ith(context, i), (VOCAB,)).copy()
                for i in range(len(tokens))]
        return np.stack(rows)


def main(libraries, output):
    peer = LlamaCpp(libraries)
    for case in CASES:
        weights = make_weights(case)
        folder = os.path.join(output, case["name"])
        write_folder(folder, case, weights)
        with tempfile.TemporaryDirectory() as scratch:
            path = os.path.join(scratch, "model.gguf")
            write_gguf(path, case, weights)
            context = peer.open(path)
        tokens = np.random.default_rng(100 + case["seed"]).integers(0, VOCAB, 48)
        logits = peer.evaluate(context, [int(t) for t in tokens], 0)
        greedy, row = [], logits[-1]
        for step in range(32):
            greedy.append(int(row.argmax()))
            row = peer.evaluate(context, greedy[-1:], len(tokens) + step)[0]
        tensor_files.save(os.path.join(folder, "expected.safetensors"),
                          {"tokens": tokens, "logits": logits, "greedy": np.array(greedy)})
        print(case["name"], "logits", logits.shape, "rms", float(logits.std()), "greedy", greedy[:8])


if __name__ == "__main__":
    main(*sys.argv[1:])
