"""Rows per second of inference: Fulcrum against a plain loop over transformers, on the same weights and rows.

    cargo build -p fulcrum-train --example infer_rows
    python benchmarks/inference.py --ours target/debug/examples/infer_rows

needs torch, transformers and numpy, and takes about three minutes on two quiet cores (libtorch does the arithmetic, so
the profile that everything here is built in serves). Both sides read the same token ids from the same files and compute
with the same number of threads (one, unless --threads says otherwise). Each is a process that reads its model once,
goes over the rows once to warm up, and then once for every round, the two in turn: neither start-up nor the reading of
the model counts, and what else the machine does meets both alike. The two must give the same numbers, or there is no
result.

The peer is what one writes first: rows in the order of the file, 32 at a time, padded to the longest of them, with an
attention mask and without gradients.

Classification: a BERT with the sizes of MiniLM-L6 (6 layers, 384 wide). Log-probability: a gpt2 with the sizes of
DistilGPT2 (6 layers, 768 wide, 82 million parameters, the vocabulary of GPT-2). Weights are random: they do not change
the speed. The lengths of rows are those of the 6,920 training sentences of SST-2 in the tokens of each model.

Prints one line of JSON and a table in Markdown.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH = 32
CASES = {
    # name: (rows, most difference between the two sides' numbers)
    "classification": (384, 1e-4),
    "log-probability": (96, 1e-2),
}
# How many tokens the sentences of SST-2 have, by quantile.
SHARES = [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1]
LENGTHS = {
    "classification": [4, 9, 11, 15, 18, 21, 24, 27, 31, 35, 41, 46, 55, 80],
    "log-probability": [2, 7, 9, 13, 16, 19, 22, 25, 28, 33, 38, 43, 53, 76],
}


def make_model(case, folder):
    """A model with random weights in the Hugging Face layout."""
    import torch
    import transformers

    torch.manual_seed(0)
    if case == "classification":
        config = transformers.BertConfig(
            vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
            intermediate_size=1536, max_position_embeddings=512, num_labels=2,
        )
        model = transformers.BertForSequenceClassification(config)
    else:
        config = transformers.GPT2Config(n_embd=768, n_layer=6, n_head=12)
        model = transformers.GPT2LMHeadModel(config)
    model.eval().save_pretrained(folder)
    return config.vocab_size


def make_rows(case, rows, vocabulary, folder):
    """Token ids of ragged rows, in the files of a prepare stage."""
    import numpy

    random = numpy.random.default_rng(0)
    lengths = numpy.interp(random.random(rows), SHARES, LENGTHS[case]).round().astype(numpy.int64)
    random.integers(1000, min(vocabulary, 30000), lengths.sum(), dtype=numpy.int32).tofile(folder / "tokens.bin")
    numpy.concatenate([[0], numpy.cumsum(lengths)]).astype(numpy.int64).tofile(folder / "offsets.bin")
    return int(lengths.sum())


def peer(case, folder, threads):
    """The plain loop: for each line that is read one pass over the rows, told as the other side tells it."""
    import numpy
    import torch
    import transformers

    torch.set_num_threads(threads)
    auto = {
        "classification": transformers.AutoModelForSequenceClassification,
        "log-probability": transformers.AutoModelForCausalLM,
    }[case]
    model = auto.from_pretrained(folder).eval()
    tokens = torch.from_numpy(numpy.fromfile(folder / "tokens.bin", numpy.int32).astype(numpy.int64))
    offsets = numpy.fromfile(folder / "offsets.bin", numpy.int64).tolist()
    rows = [tokens[begin:end] for begin, end in zip(offsets, offsets[1:])]

    def once():
        values = []
        with torch.no_grad():
            for start in range(0, len(rows), BATCH):
                batch = rows[start : start + BATCH]
                ids = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
                lengths = torch.tensor([len(row) for row in batch])
                mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
                logits = model(input_ids=ids, attention_mask=mask).logits
                if case == "classification":
                    values += logits.softmax(-1)[:, -1].tolist()
                else:
                    logs = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
                    values += (logs * mask[:, 1:]).sum(1).tolist()
        return values

    for _ in sys.stdin:
        begun = time.perf_counter()
        values = once()
        seconds = time.perf_counter() - begun
        print(json.dumps({"rows": len(rows), "seconds": seconds, "values": values}), flush=True)


class Side:
    """A process that goes over the rows each time it is asked to."""

    def __init__(self, command, threads):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=environment, text=True, **pipes)
        self.rates = []

    def values(self):
        """One pass: its rate is kept, its numbers are returned."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline() or sys.exit("a side ended before its time"))
        self.rates.append(found["rows"] / found["seconds"])
        return found["values"]

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def compare(case, arguments, folder):
    """Both sides in turn; medians of rows per second."""
    rows, tolerance = CASES[case]
    rows = arguments.rows or rows
    model = folder / case
    model.mkdir()
    tokens = make_rows(case, rows, make_model(case, model), model)
    budget, shard, threads = (str(number) for number in (arguments.batch_tokens, arguments.shard, arguments.threads))
    ours = Side([arguments.ours, str(model), str(model), budget, shard, threads], threads)
    theirs = Side([sys.executable, __file__, "--peer", case, str(model), "--threads", threads], threads)
    difference = 0
    for _ in range(1 + arguments.rounds):
        pairs = zip(ours.values(), theirs.values(), strict=True)
        found = [abs(mine - other) for mine, other in pairs]
        if not all(one <= tolerance for one in found):
            sys.exit(f"{case}: the two sides differ by {max(found)}")
        difference = max(difference, *found)
    ours.end()
    theirs.end()
    # The first pass was to warm up.
    rates = {"fulcrum": ours.rates[1:], "transformers": theirs.rates[1:]}
    medians = {side: statistics.median(found) for side, found in rates.items()}
    return {
        "case": case, "rows": rows, "tokens": tokens, "rounds": arguments.rounds, "threads": arguments.threads,
        "batch_tokens": arguments.batch_tokens, "difference": difference, "rates": rates, **medians,
        "ratio": medians["fulcrum"] / medians["transformers"],
        "ratios": [mine / other for mine, other in zip(*rates.values())],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", help="the built example infer_rows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, help="rows of each case, instead of its own number")
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--shard", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--peer", nargs=2, metavar=("CASE", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        case, folder = arguments.peer
        return peer(case, Path(folder), arguments.threads)
    if not arguments.ours:
        parser.error("name the built example with --ours")
    with tempfile.TemporaryDirectory() as folder:
        found = [compare(case, arguments, Path(folder)) for case in arguments.case or CASES]
    print(json.dumps(found))
    print("\n| case | rows | tokens | fulcrum, rows/s | transformers, rows/s | ratio | of each round |\n|---|---:|---:|---:|---:|---:|---|")
    for it in found:
        rounds = f"{min(it['ratios']):.2f} to {max(it['ratios']):.2f}"
        print(
            f"| {it['case']} | {it['rows']:,} | {it['tokens']:,} | {it['fulcrum']:.1f} | {it['transformers']:.1f} "
            f"| {it['ratio']:.2f} | {rounds} |"
        )


if __name__ == "__main__":
    main()
