"""Whisper and the DeSTA2 connector once more, in float64 numpy, from the papers and the published
layer layout of transformers: slow, plain, and sharing no line with models/."""
import math

import numpy as np

erf = np.vectorize(math.erf)


def gelu(x):
    return 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))


def gelu_tanh(x):
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Network:
    def __init__(self, weights, gelu=gelu):
        self.weights = {name: np.asarray(value, np.float64) for name, value in weights.items()}
        self.gelu = gelu

    def linear(self, name, x):
        out = x @ self.weights[name + ".weight"].T
        return out + self.weights[name + ".bias"] if name + ".bias" in self.weights else out

    def norm(self, name, x, eps=1e-5):
        centred = x - x.mean(-1, keepdims=True)
        scale = 1.0 / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
        return centred * scale * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def attention(self, q, k, v, heads, causal=False):
        """q [queries, size], k and v [keys, size]."""
        size = q.shape[1] // heads
        out = np.empty_like(q)
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            scores = q[:, part] @ k[:, part].T / math.sqrt(size)
            if causal:
                scores = np.where(np.tri(*scores.shape), scores, -np.inf)
            out[:, part] = softmax(scores) @ v[:, part]
        return out


class Whisper(Network):
    """weights: transformers' names; heads: of encoder and decoder."""

    def __init__(self, weights, heads, gelu=gelu):
        super().__init__(weights, gelu)
        self.heads = heads

    def convolve(self, name, x, stride):
        """x [channels, time] -> [out, time / stride], a zero on both sides."""
        weight, bias = self.weights[name + ".weight"], self.weights[name + ".bias"]
        padded = np.pad(x, ((0, 0), (1, 1)))
        starts = range(0, x.shape[1], stride)
        return np.stack([np.tensordot(weight, padded[:, t:t + 3], ([1, 2], [0, 1])) + bias
                         for t in starts], axis=1)

    def block(self, root, x, source=None, causal=False):
        attended = self.norm(root + "self_attn_layer_norm", x)
        x = x + self.attend(root + "self_attn.", attended, attended, causal)
        if source is not None:
            x = x + self.attend(root + "encoder_attn.",
                                self.norm(root + "encoder_attn_layer_norm", x), source)
        inner = self.gelu(self.linear(root + "fc1", self.norm(root + "final_layer_norm", x)))
        return x + self.linear(root + "fc2", inner)

    def attend(self, root, x, source, causal=False):
        mixed = self.attention(self.linear(root + "q_proj", x), self.linear(root + "k_proj", source),
                               self.linear(root + "v_proj", source), self.heads, causal)
        return self.linear(root + "out_proj", mixed)

    def layers(self, part):
        return 1 + max(int(n.split(".")[3]) for n in self.weights if n.startswith(f"model.{part}.layers."))

    def encode(self, mel):
        """mel [bins, frames] -> every layer's output, and the normalised last one [positions, size]."""
        x = self.gelu(self.convolve("model.encoder.conv1", np.asarray(mel, np.float64), 1))
        x = self.gelu(self.convolve("model.encoder.conv2", x, 2)).T
        x = x + self.weights["model.encoder.embed_positions.weight"]
        outputs = []
        for i in range(self.layers("encoder")):
            x = self.block(f"model.encoder.layers.{i}.", x)
            outputs.append(x)
        return np.stack(outputs), self.norm("model.encoder.layer_norm", x)

    def decode(self, tokens, encoded):
        """Logits at every position [time, vocabulary]."""
        table = self.weights["model.decoder.embed_tokens.weight"]
        x = table[tokens] + self.weights["model.decoder.embed_positions.weight"][:len(tokens)]
        for i in range(self.layers("decoder")):
            x = self.block(f"model.decoder.layers.{i}.", x, encoded, causal=True)
        return self.norm("model.decoder.layer_norm", x) @ table.T


class Connector(Network):
    def __init__(self, weights, heads, layers):
        super().__init__(weights)
        self.heads, self.depth = heads, layers

    def attend(self, root, x, source):
        mixed = self.attention(self.linear(root + ".self.query", x), self.linear(root + ".self.key", source),
                               self.linear(root + ".self.value", source), self.heads)
        return self.norm(root + ".output.LayerNorm", x + self.linear(root + ".output.dense", mixed), 1e-12)

    def forward(self, tapped):
        """tapped [taps, frames, size] -> [queries, llm size]."""
        outputs = []
        for tap, frames in enumerate(tapped):
            x = self.weights[f"layer_prompts.{tap}"][0]
            for i in range(self.depth):
                root = f"qformer.layer.{i}."
                x = self.attend(root + "attention", x, x)
                x = self.attend(root + "crossattention", x, frames)
                inner = self.gelu(self.linear(root + "intermediate.dense", x))
                x = self.norm(root + "output.LayerNorm", x + self.linear(root + "output.dense", inner), 1e-12)
            outputs.append(x)
        mixed = (np.stack(outputs, 1) * softmax(self.weights["layer_weights"])[..., None]).sum(1)
        return self.linear("proj.1", self.norm("proj.0", mixed))


def mel_filters(bins, fft_size=400, rate=16000.0):
    """Slaney's scale and unit area: [bins, fft_size / 2 + 1]."""
    def to_hz(mel):
        return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * 6.4 ** ((mel - 15.0) / 27.0))
    top = 15.0 + 27.0 * math.log(rate / 2 / 1000.0) / math.log(6.4)
    edges = to_hz(np.linspace(0.0, top, bins + 2))
    hertz = np.arange(fft_size // 2 + 1) * rate / fft_size
    return np.stack([np.interp(hertz, edges[i:i + 3], [0.0, 2.0 / (edges[i + 2] - edges[i]), 0.0])
                     for i in range(bins)])


def log_mel(samples, bins, frames):
    audio = np.zeros(frames * 160)
    audio[:min(len(samples), len(audio))] = samples[:len(audio)]
    padded = np.pad(audio, 200, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    spectrum = np.stack([np.fft.rfft(window * padded[160 * t:160 * t + 400]) for t in range(frames)], 1)
    log = np.log10(np.maximum(mel_filters(bins) @ np.abs(spectrum) ** 2, 1e-10))
    return (np.maximum(log, log.max() - 8.0) + 4.0) / 4.0
