"""Small random Whispers in Hugging Face layout, converted to whisper.cpp's format and run by it and by
reference.py; log-mel energies and a small connector by reference.py.

usage: speech_fixtures.py WHISPER_LIBRARY OUTPUT_FOLDER
"""
import ctypes
import os
import struct
import sys
import tempfile

import numpy as np

import reference
import tensor_files

SIZE, HEADS, ENCODER_LAYERS, DECODER_LAYERS, VOCAB = 32, 4, 3, 2, 320
POSITIONS, TEXT_POSITIONS = 100, 48
PROMPT, STEPS = [7, 301, 12, 90], 24


def sinusoids(length, size):
    scales = np.exp(-np.log(10000.0) / (size // 2 - 1) * np.arange(size // 2))
    angles = np.arange(length)[:, None] * scales[None]
    return np.concatenate([np.sin(angles), np.cos(angles)], 1)


def make_weights(seed, bins):
    weights = tensor_files.Weights(seed)

    def linear(name, out, size, bias=True, gain=1.0):
        weights.matrix(name + ".weight", out, size, gain=gain)
        if bias:
            weights.vector(name + ".bias", out)

    def norm(name):
        weights.vector(name + ".weight", SIZE, center=1.0)
        weights.vector(name + ".bias", SIZE)

    def attention(root):
        linear(root + "q_proj", SIZE, SIZE, gain=1.6)
        linear(root + "k_proj", SIZE, SIZE, bias=False, gain=1.6)
        linear(root + "v_proj", SIZE, SIZE)
        linear(root + "out_proj", SIZE, SIZE)

    weights.matrix("model.encoder.conv1.weight", SIZE, bins, 3, gain=2.0)
    weights.vector("model.encoder.conv1.bias", SIZE)
    weights.matrix("model.encoder.conv2.weight", SIZE, SIZE, 3, gain=2.0)
    weights.vector("model.encoder.conv2.bias", SIZE)
    weights.store("model.encoder.embed_positions.weight", sinusoids(POSITIONS, SIZE))
    weights.matrix("model.decoder.embed_tokens.weight", VOCAB, SIZE, gain=1.5)
    weights.matrix("model.decoder.embed_positions.weight", TEXT_POSITIONS, SIZE, gain=4.0)
    for part, layers in (("encoder", ENCODER_LAYERS), ("decoder", DECODER_LAYERS)):
        for i in range(layers):
            root = f"model.{part}.layers.{i}."
            attention(root + "self_attn.")
            norm(root + "self_attn_layer_norm")
            if part == "decoder":
                attention(root + "encoder_attn.")
                norm(root + "encoder_attn_layer_norm")
            linear(root + "fc1", 4 * SIZE, SIZE)
            linear(root + "fc2", SIZE, 4 * SIZE)
            norm(root + "final_layer_norm")
        norm(f"model.{part}.layer_norm")
    return weights


def write_folder(folder, weights, bins):
    os.makedirs(folder, exist_ok=True)
    tensor_files.save_json(os.path.join(folder, "config.json"), {
        "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "vocab_size": VOCAB,
        "d_model": SIZE, "encoder_layers": ENCODER_LAYERS, "encoder_attention_heads": HEADS,
        "encoder_ffn_dim": 4 * SIZE, "decoder_layers": DECODER_LAYERS, "decoder_attention_heads": HEADS,
        "decoder_ffn_dim": 4 * SIZE, "num_mel_bins": bins, "max_source_positions": POSITIONS,
        "max_target_positions": TEXT_POSITIONS, "activation_function": "gelu", "scale_embedding": False})
    tensor_files.save(os.path.join(folder, "model.safetensors"), weights, "BF16")


# transformers' names to those of OpenAI's release, which whisper.cpp reads.
RENAMED = [("model.", ""), (".layers.", ".blocks."), ("encoder.embed_positions.weight", "encoder.positional_embedding"),
           ("decoder.embed_positions.weight", "decoder.positional_embedding"),
           ("decoder.embed_tokens", "decoder.token_embedding"), ("self_attn_layer_norm", "attn_ln"),
           ("encoder_attn_layer_norm", "cross_attn_ln"), ("self_attn.", "attn."), ("encoder_attn.", "cross_attn."),
           ("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "out"), ("fc1", "mlp.0"),
           ("fc2", "mlp.2"), ("final_layer_norm", "mlp_ln"), ("encoder.layer_norm", "encoder.ln_post"),
           ("decoder.layer_norm", "decoder.ln")]


def write_ggml(path, weights, bins):
    filters = reference.mel_filters(bins).astype(np.float32)
    with open(path, "wb") as out:
        out.write(struct.pack("<I11i", 0x67676d6c, VOCAB, POSITIONS, SIZE, HEADS, ENCODER_LAYERS,
                              TEXT_POSITIONS, SIZE, HEADS, DECODER_LAYERS, bins, 0))
        out.write(struct.pack("<2i", *filters.shape) + filters.tobytes())
        out.write(struct.pack("<i", VOCAB))
        for token in range(VOCAB):
            text = f"t{token}".encode()
            out.write(struct.pack("<I", len(text)) + text)
        for name, array in weights.items():
            for theirs, ours in RENAMED:
                name = name.replace(theirs, ours, 1)
            if name.endswith(("conv1.bias", "conv2.bias")):
                array = array[:, None]
            raw = name.encode()
            out.write(struct.pack("<3i", array.ndim, len(raw), 0))
            out.write(struct.pack(f"<{array.ndim}i", *reversed(array.shape)))
            out.write(raw + np.ascontiguousarray(array, np.float32).tobytes())


class WhisperCpp:
    class Params(ctypes.Structure):
        """whisper_context_params: two flags in front; the rest stays as the library sets it."""
        _fields_ = [("use_gpu", ctypes.c_bool), ("flash_attn", ctypes.c_bool), ("rest", ctypes.c_byte * 254)]

    def __init__(self, library, path):
        # A Node add-on: its unresolved Node functions are never called, if binding is lazy.
        dlopen = ctypes.CDLL(None).dlopen
        dlopen.argtypes, dlopen.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
        lib = ctypes.CDLL(library, handle=dlopen(library.encode(), os.RTLD_LAZY))
        lib.whisper_context_default_params.restype = self.Params
        lib.whisper_init_from_file_with_params.argtypes = [ctypes.c_char_p, self.Params]
        lib.whisper_init_from_file_with_params.restype = ctypes.c_void_p
        lib.whisper_get_logits.restype = ctypes.POINTER(ctypes.c_float)
        lib.whisper_version.restype = ctypes.c_char_p
        params = lib.whisper_context_default_params()
        params.use_gpu = params.flash_attn = False
        self.lib = lib
        self.context = ctypes.c_void_p(lib.whisper_init_from_file_with_params(path.encode(), params))
        assert self.context, "whisper.cpp did not read the file"

    def encode(self, samples):
        data = np.ascontiguousarray(samples, np.float32).ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        assert self.lib.whisper_pcm_to_mel(self.context, data, len(samples), 1) == 0
        assert self.lib.whisper_encode(self.context, 0, 1) == 0

    def decode(self, tokens, past):
        array = (ctypes.c_int32 * len(tokens))(*tokens)
        assert self.lib.whisper_decode(self.context, array, len(tokens), past, 1) == 0
        # Only the last token's row is filled.
        return np.ctypeslib.as_array(self.lib.whisper_get_logits(self.context), (len(tokens), VOCAB))[-1].copy()


def sound(seed, samples):
    """A chirp with a pause in noise, exact in float16."""
    random = np.random.default_rng(seed)
    t = np.arange(samples) / 16000.0
    tone = 0.4 * np.sin(2 * np.pi * (150.0 + 900.0 * t) * t) * (np.sin(2 * np.pi * 1.3 * t) > -0.3)
    return (tone + 0.01 * random.standard_normal(samples)).astype(np.float16).astype(np.float32)


def whisper_case(library, output, seed, bins):
    weights = make_weights(seed, bins)
    folder = os.path.join(output, f"whisper-{bins}")
    write_folder(folder, weights, bins)
    samples = sound(seed, 24000)
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "ggml.bin")
        write_ggml(path, weights, bins)
        peer = WhisperCpp(library, path)
    peer.encode(samples)
    rows, tokens = [peer.decode(PROMPT, 0)], list(PROMPT)
    for _ in range(STEPS):
        tokens.append(int(rows[-1].argmax()))
        rows.append(peer.decode(tokens[-1:], len(tokens) - 1))
    peer_logits = np.stack(rows)

    mel = reference.log_mel(samples, bins, 2 * POSITIONS)
    layers, encoded = reference.Whisper(weights, HEADS).encode(mel)
    logits = reference.Whisper(weights, HEADS).decode(tokens, encoded)
    near = reference.Whisper(weights, HEADS, reference.gelu_tanh)
    near_logits = near.decode(tokens, near.encode(mel)[1])
    at = len(PROMPT) - 1
    print(f"whisper-{bins}: whisper.cpp {peer.lib.whisper_version().decode()}, logits rms {logits.std():.3f}, "
          f"peer against numpy: exact GELU {np.abs(peer_logits - logits[at:]).max():.2e}, "
          f"tanh GELU {np.abs(peer_logits - near_logits[at:]).max():.2e}; greedy {tokens[at + 1:at + 9]}")
    tensor_files.save(os.path.join(folder, "expected.safetensors"), {
        "samples": samples, "mel": mel, "layers": layers, "encoded": encoded,
        "tokens": np.array(tokens), "logits": logits, "peer_logits": peer_logits})


def connector_case(output):
    weights, size, heads, layers, taps, queries, ffn, llm = tensor_files.Weights(9), 32, 4, 2, 3, 5, 48, 24
    for tap in range(taps):
        weights.store(f"layer_prompts.{tap}", weights.random.standard_normal((1, queries, size)))
    weights.store("layer_weights", weights.random.standard_normal((queries, taps)))

    def linear(name, out, inner):
        weights.matrix(name + ".weight", out, inner, gain=1.5)
        weights.vector(name + ".bias", out)

    def norm(name):
        weights.vector(name + ".weight", size, center=1.0)
        weights.vector(name + ".bias", size)

    for i in range(layers):
        for kind in ("attention", "crossattention"):
            root = f"qformer.layer.{i}.{kind}"
            for part in ("query", "key", "value"):
                linear(f"{root}.self.{part}", size, size)
            linear(root + ".output.dense", size, size)
            norm(root + ".output.LayerNorm")
        linear(f"qformer.layer.{i}.intermediate.dense", ffn, size)
        linear(f"qformer.layer.{i}.output.dense", size, ffn)
        norm(f"qformer.layer.{i}.output.LayerNorm")
    norm("proj.0")
    linear("proj.1", llm, size)
    tapped = weights.random.standard_normal((2, taps, 20, size))
    speech = np.stack([reference.Connector(weights, heads, layers).forward(row) for row in tapped])
    folder = os.path.join(output, "connector")
    os.makedirs(folder, exist_ok=True)
    tensor_files.save(os.path.join(folder, "adapter.safetensors"), weights, "F32")
    tensor_files.save(os.path.join(folder, "expected.safetensors"),
                      {"tapped": np.swapaxes(tapped, 0, 1), "speech": speech})


def log_mel_cases(output):
    """Shorter and longer than the window of one second."""
    folder = os.path.join(output, "log-mel")
    os.makedirs(folder, exist_ok=True)
    tensors = {"short": sound(21, 9000), "long": sound(22, 20000)}
    for bins in (80, 128):
        tensors[f"filters-{bins}"] = reference.mel_filters(bins)
        for name in ("short", "long"):
            tensors[f"{name}-{bins}"] = reference.log_mel(tensors[name], bins, 100)
    tensor_files.save(os.path.join(folder, "expected.safetensors"), tensors)


def main(library, output):
    whisper_case(library, output, 11, 80)
    whisper_case(library, output, 12, 128)
    connector_case(output)
    log_mel_cases(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
