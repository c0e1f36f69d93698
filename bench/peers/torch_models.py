"""Whisper's encoder, DeSTA2's Q-Former and Llama as plain PyTorch modules, with the parameter names of the
published files: what torch_training.py trains with. Modules are made without initial values; load() or
draw() gives them some."""
import dataclasses
import json
import math
import mmap
import pathlib
import struct

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}


@dataclasses.dataclass(frozen=True)
class WhisperShape:
    """Defaults are whisper-small's."""
    d_model: int = 768
    layers: int = 12
    heads: int = 12
    ffn: int = 3072
    mel_bins: int = 80
    positions: int = 1500

    @staticmethod
    def read(folder: pathlib.Path) -> "WhisperShape":
        config = json.loads((folder / "config.json").read_text())
        return WhisperShape(config["d_model"], config["encoder_layers"], config["encoder_attention_heads"],
                            config["encoder_ffn_dim"], config["num_mel_bins"], config["max_source_positions"])

    def default_taps(self) -> list[int]:
        count = 8 if self.layers >= 32 else min(4, self.layers)
        return [i * self.layers // count - 1 for i in range(1, count + 1)]


@dataclasses.dataclass(frozen=True)
class LlamaShape:
    """Defaults are Llama-3.2-1B's."""
    vocabulary: int = 128256
    hidden: int = 2048
    inner: int = 8192
    layers: int = 16
    heads: int = 32
    kv_heads: int = 8
    head_dim: int = 64
    eps: float = 1e-5
    theta: float = 500000.0
    scaling: tuple[float, float, float, int] | None = (32.0, 1.0, 4.0, 8192)  # factor, low, high, positions
    tied: bool = True

    @staticmethod
    def read(folder: pathlib.Path) -> "LlamaShape":
        config = json.loads((folder / "config.json").read_text())
        heads = config["num_attention_heads"]
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind not in ("default", "llama3"):
            raise ValueError(f"{folder}: rope type '{kind}' is not supported")
        scaling = (rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"],
                   rope["original_max_position_embeddings"]) if kind == "llama3" else None
        return LlamaShape(config["vocab_size"], config["hidden_size"], config["intermediate_size"],
                          config["num_hidden_layers"], heads, config.get("num_key_value_heads", heads),
                          config.get("head_dim", config["hidden_size"] // heads), config.get("rms_norm_eps", 1e-6),
                          rope.get("rope_theta", config.get("rope_theta", 10000.0)), scaling,
                          config.get("tie_word_embeddings", False))


@dataclasses.dataclass(frozen=True)
class QFormerShape:
    d_model: int
    heads: int
    d_llm: int
    taps: int
    queries: int = 64
    layers: int = 2
    ffn: int = 3072
    dropout: float = 0.1


class Linear(nn.Linear):
    """Computes in the type of its input, whatever that of the parameters, as autocast would."""

    def reset_parameters(self) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        pass


class Float32LayerNorm(nn.LayerNorm):
    """In float32 whatever the input's type, which the output has again."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[batch, time, heads * size] -> [batch, heads, time, size]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """q, k, v [batch, heads, time, size]; mask [batch or 1, 1, queries, keys], added -> [batch, time, heads * size]."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
    if mask is not None:
        scores = scores + mask
    weights = scores.softmax(-1)
    if dropout > 0.0:
        weights = F.dropout(weights, dropout)
    return (weights @ v).transpose(1, 2).flatten(2)


class WhisperAttention(nn.Module):
    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = Linear(size, size), Linear(size, size, bias=False)
        self.v_proj, self.out_proj = Linear(size, size), Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        parts = [split_heads(project(x), self.heads) for project in (self.q_proj, self.k_proj, self.v_proj)]
        return self.out_proj(attention(*parts))


class WhisperLayer(nn.Module):
    def __init__(self, shape: WhisperShape) -> None:
        super().__init__()
        self.self_attn = WhisperAttention(shape.d_model, shape.heads)
        self.self_attn_layer_norm = nn.LayerNorm(shape.d_model)
        self.fc1, self.fc2 = Linear(shape.d_model, shape.ffn), Linear(shape.ffn, shape.d_model)
        self.final_layer_norm = nn.LayerNorm(shape.d_model)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class WhisperEncoder(nn.Module):
    """The layers up to the last tap."""
    prefix = "model.encoder."  # of its parameters in the file

    def __init__(self, shape: WhisperShape, taps: list[int]) -> None:
        super().__init__()
        self.taps = taps
        self.conv1 = nn.Conv1d(shape.mel_bins, shape.d_model, 3, padding=1)
        self.conv2 = nn.Conv1d(shape.d_model, shape.d_model, 3, stride=2, padding=1)
        self.embed_positions = Embedding(shape.positions, shape.d_model)
        self.layers = nn.ModuleList(WhisperLayer(shape) for _ in range(max(taps) + 1))

    def forward(self, mel: Tensor) -> list[Tensor]:
        """mel [batch, bins, frames] -> a [batch, frames / 2, d_model] for each tap."""
        x = F.gelu(self.conv1(mel.to(self.conv1.weight.dtype)))
        x = F.gelu(self.conv2(x)).transpose(1, 2).contiguous()
        x = x + self.embed_positions.weight[:x.shape[1]]
        tapped = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self.taps:
                tapped.append(x)
        return tapped


class BertAttention(nn.Module):
    def __init__(self, shape: QFormerShape) -> None:
        super().__init__()
        size = shape.d_model
        self.heads, self.dropout = shape.heads, shape.dropout
        self.self = nn.ModuleDict({name: Linear(size, size) for name in ("query", "key", "value")})
        self.output = nn.ModuleDict({"dense": Linear(size, size), "LayerNorm": Float32LayerNorm(size, eps=1e-12)})

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (split_heads(self.self[name](source), self.heads)
                   for name, source in (("query", x), ("key", context), ("value", context)))
        mixed = self.output["dense"](attention(q, k, v, dropout=self.dropout))
        return self.output["LayerNorm"](x + F.dropout(mixed, self.dropout))


class QFormerLayer(nn.Module):
    def __init__(self, shape: QFormerShape) -> None:
        super().__init__()
        self.dropout = shape.dropout
        self.attention, self.crossattention = BertAttention(shape), BertAttention(shape)
        self.intermediate = nn.ModuleDict({"dense": Linear(shape.d_model, shape.ffn)})
        self.output = nn.ModuleDict({"dense": Linear(shape.ffn, shape.d_model),
                                     "LayerNorm": Float32LayerNorm(shape.d_model, eps=1e-12)})

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = self.crossattention(self.attention(x, x), context)
        inner = self.output["dense"](F.gelu(self.intermediate["dense"](x)))
        return self.output["LayerNorm"](x + F.dropout(inner, self.dropout))


class QFormer(nn.Module):
    """The adapter: float32 parameters, computed in the type of what it reads."""
    prefix = ""

    def __init__(self, shape: QFormerShape) -> None:
        super().__init__()
        self.layer_prompts = nn.ParameterList(torch.empty(1, shape.queries, shape.d_model) for _ in range(shape.taps))
        self.layer_weights = nn.Parameter(torch.zeros(shape.queries, shape.taps))
        self.qformer = nn.ModuleDict({"layer": nn.ModuleList(QFormerLayer(shape) for _ in range(shape.layers))})
        self.proj = nn.Sequential(Float32LayerNorm(shape.d_model), Linear(shape.d_model, shape.d_llm))

    def forward(self, tapped: list[Tensor]) -> Tensor:
        """A [batch, frames, d_model] for each tap -> [batch, queries, d_llm]. All taps are one batch."""
        batch, dtype = tapped[0].shape[0], tapped[0].dtype
        x = torch.cat([prompt.to(dtype).expand(batch, -1, -1) for prompt in self.layer_prompts])
        context = torch.cat(tapped)
        for layer in self.qformer["layer"]:
            x = layer(x, context)
        weights = self.layer_weights.softmax(-1).to(dtype).t()[:, None, :, None]
        return self.proj((x.unflatten(0, (len(tapped), batch)) * weights).sum(0))


class LlamaAttention(nn.Module):
    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.heads, self.kv_heads = shape.heads, shape.kv_heads
        self.q_proj = Linear(shape.hidden, shape.heads * shape.head_dim, bias=False)
        self.k_proj = Linear(shape.hidden, shape.kv_heads * shape.head_dim, bias=False)
        self.v_proj = Linear(shape.hidden, shape.kv_heads * shape.head_dim, bias=False)
        self.o_proj = Linear(shape.heads * shape.head_dim, shape.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        q = rotate(split_heads(self.q_proj(x), self.heads), cos, sin)
        k = rotate(split_heads(self.k_proj(x), self.kv_heads), cos, sin)
        v = split_heads(self.v_proj(x), self.kv_heads)
        group = self.heads // self.kv_heads
        if group > 1:
            k, v = (part.unsqueeze(2).expand(-1, -1, group, -1, -1).flatten(1, 2) for part in (k, v))
        return self.o_proj(attention(q, k, v, mask))


class LlamaMlp(nn.Module):
    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.gate_proj = Linear(shape.hidden, shape.inner, bias=False)
        self.up_proj = Linear(shape.hidden, shape.inner, bias=False)
        self.down_proj = Linear(shape.inner, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaLayer(nn.Module):
    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.hidden, shape.eps)
        self.self_attn = LlamaAttention(shape)
        self.post_attention_layernorm = RMSNorm(shape.hidden, shape.eps)
        self.mlp = LlamaMlp(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    prefix = "model."

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.embed_tokens = Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(LlamaLayer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.hidden, shape.eps)
        self.lm_head = None if shape.tied else Linear(shape.hidden, shape.vocabulary, bias=False)
        self.frequencies = inverse_frequencies(shape)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """Embeddings [batch, time, hidden], of which those where `real` [batch, time] is false are padding ->
        logits [batch, time, vocabulary]."""
        angles = torch.outer(torch.arange(x.shape[1], dtype=torch.float32), self.frequencies).repeat(1, 2)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        mask = attention_mask(real, x.dtype)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        x = self.norm(x)
        return F.linear(x, self.embed_tokens.weight) if self.lm_head is None else self.lm_head(x)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin


def attention_mask(real: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a position may look: at itself and at what is in front of it and real. [batch, 1, time, time]."""
    time = real.shape[1]
    seen = torch.ones(time, time, dtype=torch.bool).tril() & real[:, None, None, :]
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)


def inverse_frequencies(shape: LlamaShape) -> Tensor:
    """Of the rotary embedding, with Llama 3.1's scaling where the model has one."""
    frequencies = shape.theta ** (-torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim)
    if shape.scaling is not None:
        factor, low, high, positions = shape.scaling
        turns = positions * frequencies / (2 * math.pi)
        smooth = ((turns - low) / (high - low)).clamp(0, 1)
        frequencies = (1 - smooth) * frequencies / factor + smooth * frequencies
    return frequencies.float()


def mel_filters(bins: int, fft_size: int = 400, rate: float = 16000.0) -> Tensor:
    """Slaney's scale and unit area: [bins, fft_size / 2 + 1]."""
    top = 15.0 + 27.0 * math.log(rate / 2 / 1000.0) / math.log(6.4)
    mel = torch.linspace(0.0, top, bins + 2, dtype=torch.float64)
    edges = torch.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * 6.4 ** ((mel - 15.0) / 27.0))[:, None]
    hertz = torch.arange(fft_size // 2 + 1, dtype=torch.float64) * rate / fft_size
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    triangles = torch.minimum((hertz - left) / (middle - left), (right - hertz) / (right - middle)).clamp(min=0)
    return (triangles * 2.0 / (right - left)).float()


class LogMel:
    """Whisper's front end: waves at 16 kHz, cut or padded to the window -> [batch, bins, frames] float32."""

    def __init__(self, bins: int, frames: int) -> None:
        self.samples = frames * 160
        self.filters, self.window = mel_filters(bins), torch.hann_window(400)

    def __call__(self, waves: list[Tensor]) -> Tensor:
        audio = torch.zeros(len(waves), self.samples)
        for row, wave in zip(audio, waves):
            count = min(len(wave), self.samples)
            row[:count] = wave[:count]
        spectrum = torch.stft(audio, 400, 160, window=self.window, return_complex=True)[..., :-1]
        log = (self.filters @ spectrum.abs().square()).clamp_(min=1e-10).log10_()
        return (torch.maximum(log, log.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


def read_safetensors(path: pathlib.Path) -> dict[str, Tensor]:
    """Tensors that share memory with the mapped file; copy what is to stay."""
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    size, = struct.unpack_from("<Q", data)
    tensors = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name != "__metadata__":
            tensors[name] = torch.frombuffer(data, dtype=DTYPES[entry["dtype"]], count=math.prod(entry["shape"]),
                                             offset=8 + size + entry["data_offsets"][0]).reshape(entry["shape"])
    return tensors


def load(module: nn.Module, path: pathlib.Path) -> None:
    """Copies the module's parameters out of a file that may hold more, in the module's precision."""
    tensors = {name.removeprefix(module.prefix): tensor for name, tensor in read_safetensors(path).items()}
    missing = module.state_dict().keys() - tensors.keys()
    if missing:
        raise ValueError(f"{path}: no {module.prefix}{min(missing)}")
    module.load_state_dict({name: tensors[name] for name in module.state_dict()})


@torch.no_grad()
def draw(module: nn.Module) -> None:
    """Random values: N(0, 0.02) weights, no biases, unit norms; a Q-Former's queries N(0, 1)."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Conv1d, nn.Embedding)):
            part.weight.normal_(0.0, 0.02)
        if isinstance(part, (nn.Linear, nn.Conv1d)) and part.bias is not None:
            part.bias.zero_()
        if isinstance(part, nn.ParameterList):
            for prompt in part:
                prompt.normal_()
