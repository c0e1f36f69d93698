"""llama.cpp on the workload of bench/generation.cpp: its first three figures, of the same weights.

usage: llama_generation.py FOLDER_OF_LIBLLAMA LLM_FOLDER [bfloat16|float32] [THREADS]

The folder's weights go into a GGUF file as they are (bfloat16), or as float32. Keys and values are llama.cpp's default,
float16; so is flash attention (auto). A prompt goes through in one call (n_ubatch 512); the 32 requests are read
one after the other, then decoded side by side, each until its answer is whole: the best that its C API allows without
a server's scheduling. The fastest of three rounds counts.
"""
import ctypes
import json
import os
import pathlib
import random
import struct
import sys
import tempfile
import time

import numpy as np

import llama_fixtures


def read_safetensors(folder):
    """Names to memory maps of bfloat16 as uint16."""
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with open(path, "rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size))
        for name, entry in header.items():
            if name != "__metadata__":
                assert entry["dtype"] == "BF16", "bfloat16 files only"
                tensors[name] = np.memmap(path, np.uint16, "r", 8 + size + entry["data_offsets"][0],
                                          tuple(entry["shape"]))
    return tensors


def widen(bits):
    return (np.asarray(bits).astype(np.uint32) << 16).view(np.float32)


def write_gguf(path, config, weights, wide):
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    values = {"general.architecture": "llama", "llama.vocab_size": config["vocab_size"],
              "llama.context_length": config["max_position_embeddings"],
              "llama.embedding_length": config["hidden_size"],
              "llama.feed_forward_length": config["intermediate_size"],
              "llama.block_count": config["num_hidden_layers"], "llama.attention.head_count": heads,
              "llama.attention.head_count_kv": kv_heads, "llama.attention.key_length": head_dim,
              "llama.attention.value_length": head_dim,
              "llama.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
              "llama.rope.freq_base": float(config["rope_theta"]), "llama.rope.dimension_count": head_dim,
              "tokenizer.ggml.model": "no_vocab"}
    short = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    outer = {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight",
             "model.norm.weight": "output_norm.weight"}
    tensors = {}
    for name, array in weights.items():
        if name in outer:
            tensors[outer[name]] = array
            continue
        _, _, index, rest = name.split(".", 3)
        rest = rest.removesuffix(".weight")
        if rest in ("self_attn.q_proj", "self_attn.k_proj"):
            array = llama_fixtures.interleave(array, heads if "q_proj" in rest else kv_heads)
        tensors[f"blk.{index}.{short[rest]}.weight"] = array
    if config.get("rope_scaling"):
        tensors["rope_freqs.weight"] = llama_fixtures.rope_factors(config["rope_scaling"], config["rope_theta"], head_dim)
    # ggml types: 0 float32 (norms must be), 30 bfloat16.
    kind = {name: 0 if wide or array.ndim == 1 else 30 for name, array in tensors.items()}
    head = struct.pack("<IIQQ", 0x46554747, 3, len(tensors), len(values))
    head += b"".join(llama_fixtures.gguf_value(key, value) for key, value in values.items())
    offset = 0
    for name, array in tensors.items():
        head += llama_fixtures.gguf_string(name) + struct.pack("<I", array.ndim)
        head += b"".join(struct.pack("<Q", size) for size in reversed(array.shape))
        head += struct.pack("<IQ", kind[name], offset)
        size = array.size * (4 if kind[name] == 0 else 2)
        offset += size + -size % 32
    with open(path, "wb") as out:
        out.write(head + b"\0" * (-len(head) % 32))
        for name, array in tensors.items():
            data = widen(array) if kind[name] == 0 and array.dtype == np.uint16 else np.ascontiguousarray(array)
            data.tofile(out)
            out.write(b"\0" * (-data.nbytes % 32))


def write_folder_as_gguf(path, folder, wide):
    config = json.loads((pathlib.Path(folder) / "config.json").read_text())
    write_gguf(path, config, read_safetensors(folder), wide)
    return config


class Peer(llama_fixtures.LlamaCpp):
    threads = 1

    def exact_cache(self, params):
        words = params.words
        assert words[7] == words[8], "llama_context_params changed"
        words[0], words[1], words[2], words[3] = 32 * 512, 2048, 512, 32  # n_ctx, n_batch, n_ubatch, n_seq_max
        words[7] = words[8] = self.threads

    def prepare(self):
        self.lib.llama_get_memory.restype = ctypes.c_void_p
        self.lib.llama_get_memory.argtypes = [ctypes.c_void_p]
        self.lib.llama_memory_clear.argtypes = [ctypes.c_void_p, ctypes.c_bool]
        self.batch = self.lib.llama_batch_init(2048, 0, 1)

    def decode(self, context, rows):
        """rows: (token, position, sequence, wants logits)."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.seq_id[i][0], batch.logits[i] = sequence, wanted
        assert self.lib.llama_decode(context, batch) == 0

    def greedy(self, context, row, vocab):
        return int(np.ctypeslib.as_array(self.lib.llama_get_logits_ith(context, row), (vocab,)).argmax())


def run(peer, context, vocab, requests):
    peer.lib.llama_memory_clear(peer.lib.llama_get_memory(context), True)
    start = time.perf_counter()
    first, running = 0.0, []
    for sequence, (prompt, answer) in enumerate(requests):
        peer.decode(context, [(token, i, sequence, i + 1 == len(prompt)) for i, token in enumerate(prompt)])
        running.append([peer.greedy(context, len(prompt) - 1, vocab), len(prompt), sequence, answer - 1])
        first = first or time.perf_counter() - start
    while running := [row for row in running if row[3] > 0]:
        peer.decode(context, [(row[0], row[1], row[2], 1) for row in running])
        for i, row in enumerate(running):
            row[0], row[1], row[3] = peer.greedy(context, i, vocab), row[1] + 1, row[3] - 1
    return first, time.perf_counter() - start


def main(libraries, folder, precision="bfloat16", threads="1"):
    Peer.threads = int(threads)
    peer = Peer(libraries)
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "model.gguf")
        vocab = write_folder_as_gguf(path, folder, precision == "float32")["vocab_size"]
        context = peer.open(path)
        peer.prepare()
        source = random.Random(1)
        prompt = lambda length: [source.randrange(vocab) for _ in range(length)]

        def fastest(requests):
            return min((run(peer, context, vocab, requests) for _ in range(3)), key=lambda times: times[1])

        def figure(what, value):
            print(json.dumps({"system": f"llama.cpp {precision}", "what": what, "value": round(value, 2),
                              "unit": "tokens/s"}), flush=True)

        figure("prefill", 512 / fastest([(prompt(512), 1)])[1])
        first, total = fastest([(prompt(64), 129)])
        figure("one_request", 128 / (total - first))
        mixed = [(prompt(16 + 7 * i), 32 + 3 * (i * 11 % 32)) for i in range(32)]
        figure("32_requests", sum(answer for _, answer in mixed) / fastest(mixed)[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
