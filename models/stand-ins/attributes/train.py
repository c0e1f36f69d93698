#!/usr/bin/env python3
"""Trains the stand-in attribute model (gender and age group from log-mel) and writes model.pt beside this file.

    build/bin/desta-datagen configs/quickstart.yaml --set data.folder=data/attributes \\
      --set data.synthetic.train=4000 --set data.synthetic.validation=300 --set data.synthetic.held_out=600 \\
      --set data.synthetic.flite=200 --set generation.max_new_tokens=1
    /usr/bin/python3 models/stand-ins/attributes/train.py data/attributes/speech [EPOCHS]

Zero epochs: measures the model.pt that is there. Afterwards card.yaml's checksum is to be renewed (`xxhsum -H3`).
Needs Debian's python3-torch (1.13) and python3-numpy. Everything drawn comes from SEED. The held-out sets are
looked at once, at the end; epochs and sizes were chosen on the validation set (training voices, other sentences).
"""
import json
import math
import sys
import wave
from pathlib import Path

import numpy as np
import torch
from torch import nn

SEED = 1
BINS, SECONDS = 80, 4
GENDERS = ["Female", "Male"]
AGES = ["Young", "Adult", "Elderly"]
MINIMUM = {"gender": 0.6, "age": 0.8}  # as in card.yaml


def mel_filters():
    """models/log_mel.cpp's: triangles on Slaney's scale, of unit area."""
    def to_hz(mel):
        return mel * 200 / 3 if mel < 15 else 1000 * math.exp(math.log(6.4) / 27 * (mel - 15))
    top = 15 + math.log(8000 / 1000) / (math.log(6.4) / 27)
    edges = [to_hz(top * i / (BINS + 1)) for i in range(BINS + 2)]
    hz = torch.arange(201, dtype=torch.float64) * 40
    rows = []
    for low, middle, high in zip(edges, edges[1:], edges[2:]):
        rising, falling = (hz - low) / (middle - low), (high - hz) / (high - middle)
        rows.append(torch.clamp(torch.minimum(rising, falling), min=0) * 2 / (high - low))
    return torch.stack(rows).float()


FILTERS, WINDOW = mel_filters(), torch.hann_window(400)


def log_mel(samples):
    """models/log_mel.cpp: [BINS, 100 * SECONDS]."""
    audio = torch.zeros(SECONDS * 16000)
    count = min(len(audio), len(samples))
    audio[:count] = torch.from_numpy(samples[:count])
    spectrum = torch.stft(audio, 400, 160, window=WINDOW, center=True, pad_mode="reflect", return_complex=True)
    log = torch.log10(torch.clamp(FILTERS @ spectrum[:, :-1].abs() ** 2, min=1e-10))
    log = torch.maximum(log, log.max() - 8.0)
    return (log + 4.0) / 4.0


def read_set(folder):
    features, genders, ages, speakers = [], [], [], []
    for line in (folder / "manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        with wave.open(str(folder / row["audio_filepath"])) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        features.append(log_mel(pcm.astype(np.float32) / 32768))
        genders.append(GENDERS.index(row["gender"]))
        ages.append(AGES.index(row["age"]))
        speakers.append(row["speaker"].split("+")[-1])
    return torch.stack(features), torch.tensor(genders), torch.tensor(ages), speakers


class GenderAndAge(nn.Module):
    """[batch, bins, frames] -> logits of gender and of age group.

    A few convolutions over time, then mean and spread over the loud frames: what a voice is like, not what it says."""

    def __init__(self):
        super().__init__()
        self.frames = nn.Sequential(
            nn.Conv1d(BINS, 64, 5, stride=2, padding=2), nn.BatchNorm1d(64), nn.ReLU(),
            nn.Conv1d(64, 64, 5, stride=2, padding=2), nn.BatchNorm1d(64), nn.ReLU())
        self.voice = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.3))
        self.gender = nn.Linear(64, 2)
        self.age = nn.Linear(64, 3)

    def forward(self, mel):
        level = mel.mean(1, keepdim=True)
        hidden = self.frames(mel - level.amax(2, keepdim=True))
        level = nn.functional.avg_pool1d(level, 4, 4)
        loud = (level > level.amax(2, keepdim=True) - 0.5).float()
        weight = loud / loud.sum(2, keepdim=True)
        average = (hidden * weight).sum(2)
        spread = torch.sqrt((hidden * hidden * weight).sum(2) - average * average + 1e-5)
        voice = self.voice(torch.cat([average, spread], 1))
        return self.gender(voice), self.age(voice)


def augment(mel):
    """Voices of slightly other sizes (bands shifted by up to two), some bands and times lost."""
    shift = int(torch.randint(-2, 3, ()))
    mel = torch.roll(mel, shift, 1)
    if torch.rand(()) < 0.5:
        band = int(torch.randint(0, BINS - 10, ()))
        mel = mel.clone()
        mel[:, band:band + int(torch.randint(1, 10, ()))] = mel.mean()
    return mel + 0.02 * torch.randn_like(mel)


def accuracy(model, data):
    model.eval()
    with torch.no_grad():
        gender, age = model(data[0])
    return gender.argmax(1) == data[1], age.argmax(1) == data[2]


def report(name, model, data):
    gender, age = accuracy(model, data)
    shares = ", ".join(f"{AGES[i]} {100 * age[data[2] == i].float().mean():.1f} % of {int((data[2] == i).sum())}"
                       for i in range(3) if (data[2] == i).any())
    print(f"{name}: {len(gender)} clips; gender {100 * gender.float().mean():.1f} %; age {100 * age.float().mean():.1f} % ({shares})")
    with torch.no_grad():
        for attribute, logits, right in zip(("gender", "age"), model(data[0]), (gender, age)):
            sure = torch.softmax(logits, 1).amax(1) >= MINIMUM[attribute]
            print(f"  {attribute} where at least {MINIMUM[attribute]} sure: {100 * right[sure].float().mean():.1f} % "
                  f"of {100 * sure.float().mean():.0f} %")
    by = {}
    for speaker, g, a in zip(data[3], gender.tolist(), age.tolist()):
        by.setdefault(speaker, []).append((g, a))
    print("  gender by speaker: " + ", ".join(f"{s} {100 * np.mean([g for g, _ in v]):.0f}" for s, v in sorted(by.items())))


def train(model, data, validation, epochs):
    # Each gender and each age group weighs the same: most voices are adult men.
    gender_weight = len(data[1]) / (2 * torch.bincount(data[1], minlength=2).float())
    age_weight = len(data[2]) / (3 * torch.bincount(data[2], minlength=3).float())
    steps = len(data[0]) // 32
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * steps)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for batch in torch.randperm(len(data[0]))[:steps * 32].view(-1, 32):
            gender, age = model(augment(data[0][batch]))
            loss = (nn.functional.cross_entropy(gender, data[1][batch], gender_weight, label_smoothing=0.05)
                    + 0.5 * nn.functional.cross_entropy(age, data[2][batch], age_weight, label_smoothing=0.05))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss)
        gender, age = accuracy(model, validation)
        print(f"epoch {epoch + 1}: loss {total / steps:.3f}; validation gender {100 * gender.float().mean():.1f} %, "
              f"age {100 * age.float().mean():.1f} %", flush=True)
    model.eval()


def main():
    speech = Path(sys.argv[1])
    epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    file = str(Path(__file__).parent / "model.pt")
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    if epochs > 0:
        data, validation = read_set(speech / "train"), read_set(speech / "validation")
        model = GenderAndAge()
        train(model, data, validation, epochs)
        torch.jit.script(model).save(file)
    model = torch.jit.load(file)
    # What models/log_mel.cpp and LibTorch must find too (tests/datagen/attribute_model_test.cpp): a sweep from 100 to
    # 1000 Hz in 3 s.
    t = np.arange(48000) / 16000
    sweep = (0.3 * np.sin(2 * np.pi * (100 * t + 150 * t * t))).astype(np.float32)
    with torch.no_grad():
        print("sweep:", [torch.softmax(logits, 1)[0].tolist() for logits in model(log_mel(sweep)[None])])
    for name in ("validation", "held-out", "flite"):
        report(name, model, read_set(speech / name))


if __name__ == "__main__":
    main()
