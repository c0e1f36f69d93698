"""DeSTA2's training as one writes it in PyTorch, on the rows that bench_training_rows has printed: a frozen
Whisper, the Q-Former that learns, a frozen Llama, the loss on response tokens.

  build/bin/bench_training_rows configs/quickstart.yaml --steps 12 > rows.jsonl
  /usr/bin/python3 bench/peers/torch_training.py --rows rows.jsonl --steps 12 --warm-up 2 --micro-size 8 \\
    --queries 16 --ffn 768 --learning-rate 1e-3 --lr-warm-up 20 --total-steps 800

Needs Debian's python3-torch (1.13), and is started where the recordings' paths lead somewhere. Standard error has
each step's loss and gradient norm, from before its update and numbered as in metrics.jsonl; standard output has
the figures, one JSON object a line:

  samples_per_second       of the steps behind the warm-up, by the first process's clock
  step_median              of the same steps
  resident_after_loading   models, adapter, gradients, AdamW's moments and the program, over all processes
  memory_per_sample        peak resident memory beyond that, over the samples of each process's microbatch

Chosen for PyTorch: a step reads its recordings and runs the encoder under no_grad; rows are padded behind, with an
attention mask; the head makes logits at every position, as in transformers, and labels of -100 leave out what is not
learned. Frozen parameters need no gradient. In bfloat16 the frozen models are stored so, the adapter is float32 and
computes in bfloat16 but for its norms, which stay in float32. With two processes each takes a share of the step's
microbatches, and DistributedDataParallel averages the gradients over gloo during the last one's backward pass.
"""
import argparse
import contextlib
import ctypes
import json
import math
import os
import pathlib
import statistics
import sys
import tempfile
import time
import wave
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

import torch_models as models

IGNORED = -100  # the label of positions whose next token is not learned
STAND_INS = pathlib.Path(__file__).resolve().parents[2] / "models" / "stand-ins"


@dataclass
class Batch:
    """A microbatch. Positions count the speech vectors, which go in behind `speech_at` tokens."""
    mel: Tensor       # [batch, bins, frames]
    tokens: Tensor    # [batch, time]
    real: Tensor      # [batch, time + queries], false where a row is padded
    labels: Tensor    # [batch, time + queries], the next token where that is learned
    speech_at: int


def read_wav(path: str, samples: int) -> Tensor:
    """The first samples of a 16 kHz, 16-bit file, the mean of its channels."""
    with wave.open(path) as file:
        if (file.getframerate(), file.getsampwidth()) != (16000, 2):
            raise ValueError(f"{path}: not 16-bit audio at 16 kHz")
        data = bytearray(file.readframes(samples))
        return torch.frombuffer(data, dtype=torch.int16).view(-1, file.getnchannels()).float().mean(1) / 32768.0


def make_batch(rows: list[dict], queries: int, log_mel: models.LogMel) -> Batch:
    mel = log_mel([read_wav(row["audio_filepath"], log_mel.samples) for row in rows])
    speech_at = rows[0]["speech_at"]
    time_ = max(len(row["prompt"]) + len(row["response"]) for row in rows)
    tokens = torch.zeros(len(rows), time_, dtype=torch.long)
    real = torch.zeros(len(rows), time_ + queries, dtype=torch.bool)
    labels = torch.full((len(rows), time_ + queries), IGNORED)
    for index, row in enumerate(rows):
        if row["speech_at"] != speech_at:
            raise ValueError("rows of a microbatch must have their speech at the same position")
        start, end = len(row["prompt"]), len(row["prompt"]) + len(row["response"])
        tokens[index, :end] = torch.tensor(row["prompt"] + row["response"])
        real[index, :queries + end] = True
        labels[index, queries + start - 1:queries + end - 1] = torch.tensor(row["response"])
    return Batch(mel, tokens, real, labels, speech_at)


def summed_loss(encoder: nn.Module, adapter: nn.Module, llm: models.Llama, batch: Batch) -> Tensor:
    with torch.no_grad():
        tapped = encoder(batch.mel)
    speech = adapter(tapped)
    words = llm.embed_tokens(batch.tokens)
    hidden = torch.cat([words[:, :batch.speech_at], speech, words[:, batch.speech_at:]], dim=1)
    logits = llm(hidden, batch.real).float()
    return F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED, reduction="sum")


def learning_rate_share(step: int, rising: int, total: int) -> float:
    """Linear up, then a cosine down to zero."""
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - rising) / max(1, total - rising))))


def make_models(
        options: argparse.Namespace) -> tuple[models.WhisperEncoder, models.QFormer, models.Llama, models.LogMel]:
    """Frozen models in the precision asked for, the adapter in float32."""
    if options.random == "1b":
        speech, text = models.WhisperShape(), models.LlamaShape(layers=6)
    else:
        speech, text = models.WhisperShape.read(options.speech), models.LlamaShape.read(options.llm)
    if options.layers_llm:
        text = replace(text, layers=options.layers_llm)
    taps = options.taps or speech.default_taps()
    adapter = models.QFormer(models.QFormerShape(speech.d_model, speech.heads, text.hidden, len(taps), options.queries,
                                                 options.layers, options.ffn, options.dropout))
    torch.set_default_dtype(getattr(torch, options.precision))
    encoder, llm = models.WhisperEncoder(speech, taps), models.Llama(text)
    torch.set_default_dtype(torch.float32)
    for module, folder in ((encoder, options.speech), (llm, options.llm)):
        if options.random:
            models.draw(module)
        else:
            models.load(module, folder / "model.safetensors")
        module.requires_grad_(False)
    if options.adapter:
        models.load(adapter, options.adapter)
    else:
        models.draw(adapter)
    return encoder, adapter, llm, models.LogMel(speech.mel_bins, 2 * speech.positions)


def make_optimizer(adapter: nn.Module, learning_rate: float) -> torch.optim.AdamW:
    """DeSTA2's, with gradients and moments in memory from the start, so that they count as loaded."""
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=learning_rate, betas=(0.9, 0.98), eps=1e-8,
                                  weight_decay=0.01)
    for parameter in adapter.parameters():
        parameter.grad = torch.zeros_like(parameter)
        optimizer.state[parameter] = {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(parameter),
                                      "exp_avg_sq": torch.zeros_like(parameter)}
    return optimizer


def read_rows(options: argparse.Namespace) -> list[list[dict]]:
    """The rows of each step."""
    steps: list[list[dict]] = [[] for _ in range(options.steps)]
    with open(options.rows, encoding="utf-8") as file:
        for row in map(json.loads, file):
            if row["step"] < options.steps:
                steps[row["step"]].append(row)
    for step, rows in enumerate(steps):
        if len(rows) != options.global_size:
            raise ValueError(f"{options.rows}: {len(rows)} rows of step {step}, not {options.global_size}")
    return steps


def resident_bytes(key: str) -> int:
    """VmRSS: now. VmHWM: the peak."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return 1024 * int(line.split()[1])
    raise KeyError(key)


def settle_memory() -> int:
    """Returns what loading has freed, lets the peak begin here; the resident bytes."""
    ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return resident_bytes("VmRSS")


def keep_freed_memory() -> None:
    """What models::keep_freed_memory() of our programs does: malloc gives no memory back."""
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    libc = ctypes.CDLL(None)
    libc.mallopt(m_mmap_max, 0)
    libc.mallopt(m_trim_threshold, 2**31 - 1)
    libc.mallopt(m_top_pad, 64 << 20)


def sum_over_processes(value: float) -> float:
    total = torch.tensor(value, dtype=torch.float64)
    if dist.is_initialized():
        dist.all_reduce(total)
    return total.item()


class Training:
    def __init__(self, rank: int, options: argparse.Namespace) -> None:
        self.rank, self.options = rank, options
        torch.manual_seed(options.seed)  # the same initial values everywhere
        self.encoder, self.adapter, self.llm, self.log_mel = make_models(options)
        torch.manual_seed(options.seed + 1 + rank)  # dropout
        self.optimizer = make_optimizer(self.adapter, options.learning_rate)
        total_steps = options.total_steps or options.steps
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_share(step, options.lr_warm_up, total_steps))
        self.learner = self.adapter
        if options.processes > 1:
            self.learner = nn.parallel.DistributedDataParallel(self.adapter)

    def step(self, rows: list[dict]) -> tuple[float, float]:
        """One update. The loss and the gradient's norm, both from before it."""
        size, processes = self.options.micro_size, self.options.processes
        own = [rows[i:i + size] for i in range(0, len(rows), size)][self.rank::processes]
        tokens = sum(len(row["response"]) for row in rows)
        self.optimizer.zero_grad()
        total = 0.0
        for index, micro_rows in enumerate(own):
            alone = processes > 1 and index + 1 < len(own)
            with self.learner.no_sync() if alone else contextlib.nullcontext():
                batch = make_batch(micro_rows, self.options.queries, self.log_mel)
                loss = summed_loss(self.encoder, self.learner, self.llm, batch) / tokens
                (loss * processes).backward()  # gradients are averaged over the processes
            total += loss.item()
        norm = nn.utils.clip_grad_norm_(self.adapter.parameters(), 1.0, error_if_nonfinite=True)
        self.optimizer.step()
        self.schedule.step()
        return sum_over_processes(total), norm.item()

    def run(self) -> None:
        options = self.options
        steps = read_rows(options)
        held = settle_memory()
        seconds = []
        for number, rows in enumerate(steps):
            start = time.perf_counter()
            loss, norm = self.step(rows)
            seconds.append(time.perf_counter() - start)
            if self.rank == 0:
                print(f"step {number + 1}: loss {loss:.6f}, gradient norm {norm:.5f}, {seconds[-1]:.3f} s",
                      file=sys.stderr)
        beyond = sum_over_processes(resident_bytes("VmHWM") - held)
        held_by_all = sum_over_processes(held)
        if self.rank == 0:
            timed = seconds[options.warm_up:]
            self.report("samples_per_second", options.global_size * len(timed) / sum(timed), "samples/s")
            self.report("step_median", statistics.median(timed), "s")
            self.report("resident_after_loading", held_by_all, "B")
            self.report("memory_per_sample", beyond / (options.micro_size * options.processes), "B")

    def report(self, what: str, value: float, unit: str) -> None:
        name = f"{self.options.name}_{what}"
        print(f'{{"system": "PyTorch", "what": "{name}", "value": {value:.6g}, "unit": "{unit}"}}', flush=True)


def work(rank: int, options: argparse.Namespace, meeting: str) -> None:
    """One process of the job."""
    cores = sorted(os.sched_getaffinity(0))
    if options.processes * options.threads == len(cores):
        os.sched_setaffinity(0, cores[rank * options.threads:(rank + 1) * options.threads])
    if options.keep_memory:
        keep_freed_memory()
    torch.set_num_threads(options.threads)
    if options.processes > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=options.processes)
    Training(rank, options).run()
    if options.processes > 1:
        dist.destroy_process_group()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    add = parser.add_argument
    add("--speech", type=pathlib.Path, default=STAND_INS / "speech", help="a Whisper's folder")
    add("--llm", type=pathlib.Path, default=STAND_INS / "llm", help="a Llama's folder")
    add("--random", choices=("small", "1b"),
        help="random weights: of the folders' shapes, or of whisper-small's and six layers of Llama-3.2-1B's")
    add("--layers-llm", type=int, default=0, help="only that many of the Llama's first layers")
    add("--adapter", type=pathlib.Path, help="initial adapter.safetensors; random without it")
    add("--rows", type=pathlib.Path, required=True, help="what bench_training_rows has printed")
    add("--precision", choices=("float32", "bfloat16"), default="float32", help="of frozen models and activations")
    add("--micro-size", type=int, default=4)
    add("--global-size", type=int, default=16)
    add("--queries", type=int, default=64)
    add("--layers", type=int, default=2, help="of the Q-Former")
    add("--ffn", type=int, default=3072)
    add("--dropout", type=float, default=0.0)
    add("--taps", type=int, nargs="+", default=[], help="DeSTA2's if not given")
    add("--learning-rate", type=float, default=1e-4)
    add("--lr-warm-up", type=int, default=2000, help="steps over which the learning rate rises")
    add("--total-steps", type=int, default=0, help="of the learning rate's cosine; --steps if not given")
    add("--steps", type=int, required=True)
    add("--warm-up", type=int, default=0, help="the first steps, which are not timed")
    add("--threads", type=int, default=1, help="of each process")
    add("--processes", type=int, choices=(1, 2), default=1)
    add("--keep-memory", action="store_true", help="malloc keeps what is freed, as in our programs")
    add("--seed", type=int, default=1)
    add("--name", default="training", help="what the figures' names begin with")
    options = parser.parse_args()
    if options.global_size % (options.micro_size * options.processes) != 0:
        parser.error("--global-size must be a multiple of --micro-size times --processes")
    if not 0 <= options.warm_up < options.steps:
        parser.error("--warm-up must leave steps to time")
    return options


def main() -> None:
    options = parse()
    # Read when the libraries are loaded, so a process of its own even when there is one.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(options.threads)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, args=(options, f"{folder}/meeting"), nprocs=options.processes)


if __name__ == "__main__":
    main()
