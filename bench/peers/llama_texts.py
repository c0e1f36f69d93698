"""llama.cpp on the prompts of bench_engine_texts, one at a time, and where its answers part from the engine's.

usage: llama_texts.py FOLDER_OF_LIBLLAMA LLM_FOLDER NEW_TOKENS [THREADS] < the lines of bench_engine_texts

The folder's weights as float32, keys and values in float32, no flash attention. Greedy, the smallest id among equals.
Prints how many answers are the same, token by token; of each other one, where it parts, both tokens, and how far apart
their two logits are in llama.cpp. Ends with 1 where that is more than float32's rounding explains: 1e-4, five times
what logits of the two programs differ by on a prompt (tests/models: 1.3e-5 of 12.9).
"""
import json
import os
import sys
import tempfile

import numpy as np

import llama_fixtures
import llama_generation

NEAR_TIE = 1e-4


class Peer(llama_generation.Peer):
    def exact_cache(self, params):
        llama_fixtures.LlamaCpp.exact_cache(params)
        words = params.words
        words[0], words[1], words[2] = 2048, 2048, 512  # n_ctx, n_batch, n_ubatch
        words[7] = words[8] = self.threads

    def logits(self, context, vocab):
        return np.ctypeslib.as_array(self.lib.llama_get_logits_ith(context, -1), (vocab,)).copy()


def first_difference(peer, context, vocab, line, new_tokens):
    """None, or (place, the engine's token, llama.cpp's, the distance of their logits)."""
    peer.lib.llama_memory_clear(peer.lib.llama_get_memory(context), True)
    prompt, answer = line["prompt"], line["answer"]
    expected = answer + [line["end"]] * (len(answer) < new_tokens)
    peer.decode(context, [(token, i, 0, i + 1 == len(prompt)) for i, token in enumerate(prompt)])
    for place, token in enumerate(expected):
        logits = peer.logits(context, vocab)
        chosen = int(logits.argmax())
        if chosen != token:
            return place, token, chosen, float(logits[chosen] - logits[token])
        if place + 1 < len(expected):
            peer.decode(context, [(token, len(prompt) + place, 0, True)])
    return None


def main(libraries, folder, new_tokens, threads="1"):
    Peer.threads = int(threads)
    peer = Peer(libraries)
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "model.gguf")
        vocab = llama_generation.write_folder_as_gguf(path, folder, wide=True)["vocab_size"]
        context = peer.open(path)
    peer.prepare()
    texts = same = tokens = excused = 0
    for number, line in enumerate(map(json.loads, sys.stdin)):
        texts, tokens = texts + 1, tokens + len(line["answer"])
        difference = first_difference(peer, context, vocab, line, int(new_tokens))
        if difference is None:
            same += 1
            continue
        place, ours, theirs, gap = difference
        excused += gap <= NEAR_TIE
        print(f"seed {number} parts at token {place}: {ours} here, {theirs} there, their logits {gap:.2g} apart")
    print(f"{same} of {texts} texts ({tokens} tokens) are llama.cpp's, token by token; {excused} part at a near-tie")
    return 0 if texts > 0 and same + excused == texts else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
