"""Rows per second of inference: Fulcrum against a plain loop over transformers, on the same weights and rows.

    cargo build --release -p fulcrum-train --example infer_rows
    python benchmarks/inference.py --ours target/release/examples/infer_rows

needs torch, transformers and numpy. Both sides read the same token ids from the same files with the same number of
threads (one, unless --threads says otherwise), and are run in turn, in processes of their own; each goes over the
rows once to warm up and once by the clock, so neither start-up nor the reading of the model counts. The two must give
the same numbers, or there is no result.

The peer is what one writes first: rows in the order of the file, 32 at a time, padded to the longest of them, with an
attention mask and without gradients.

Classification: a BERT with the sizes of MiniLM-L6 (6 layers, 384 wide). Log-probability: a gpt2 of 30 million
parameters (6 layers, 384 wide, the vocabulary of GPT-2). Weights are random: they do not change the speed. The lengths
of rows are log-normal, those of single sentences with a tail (median 20 tokens, from 4 to 128).

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
    "classification": (2048, 1e-4),
    "log-probability": (512, 1e-2),
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
        config = transformers.GPT2Config(n_embd=384, n_layer=6, n_head=6)
        model = transformers.GPT2LMHeadModel(config)
    model.eval().save_pretrained(folder)
    return config.vocab_size


def make_rows(rows, vocabulary, folder):
    """Token ids of ragged rows, in the files of a prepare stage."""
    import numpy

    random = numpy.random.default_rng(0)
    lengths = numpy.clip(numpy.round(random.lognormal(numpy.log(20), 0.6, rows)), 4, 128).astype(numpy.int64)
    random.integers(1000, min(vocabulary, 30000), lengths.sum(), dtype=numpy.int32).tofile(folder / "tokens.bin")
    numpy.concatenate([[0], numpy.cumsum(lengths)]).astype(numpy.int64).tofile(folder / "offsets.bin")
    return int(lengths.sum())


def peer(case, model_folder, rows_folder, threads):
    """The plain loop; prints what the other side prints."""
    import numpy
    import torch
    import transformers

    torch.set_num_threads(threads)
    auto = {
        "classification": transformers.AutoModelForSequenceClassification,
        "log-probability": transformers.AutoModelForCausalLM,
    }[case]
    model = auto.from_pretrained(model_folder).eval()
    tokens = torch.from_numpy(numpy.fromfile(rows_folder / "tokens.bin", numpy.int32).astype(numpy.int64))
    offsets = numpy.fromfile(rows_folder / "offsets.bin", numpy.int64).tolist()
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

    once()
    begun = time.perf_counter()
    values = once()
    seconds = time.perf_counter() - begun
    print(json.dumps({"rows": len(rows), "seconds": seconds, "values": values}))


def run(command, threads):
    """The last line of a process, as JSON."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(case, arguments, folder):
    """Both sides in turn; medians of rows per second."""
    rows, tolerance = CASES[case]
    rows = arguments.rows or rows
    model = folder / case
    model.mkdir()
    tokens = make_rows(rows, make_model(case, model), model)
    budget, shard, threads = (str(number) for number in (arguments.batch_tokens, arguments.shard, arguments.threads))
    ours = [arguments.ours, str(model), str(model), budget, shard, threads]
    theirs = [sys.executable, __file__, "--peer", case, str(model), "--threads", threads]
    rates = {"fulcrum": [], "transformers": []}
    for _ in range(arguments.rounds):
        mine, other = run(ours, arguments.threads), run(theirs, arguments.threads)
        difference = max(abs(a - b) for a, b in zip(mine["values"], other["values"], strict=True))
        if not difference <= tolerance:
            sys.exit(f"{case}: the two sides differ by {difference}")
        rates["fulcrum"].append(mine["rows"] / mine["seconds"])
        rates["transformers"].append(other["rows"] / other["seconds"])
    medians = {side: statistics.median(found) for side, found in rates.items()}
    return {
        "case": case, "rows": rows, "tokens": tokens, "rounds": arguments.rounds, "threads": arguments.threads,
        "batch_tokens": arguments.batch_tokens, "difference": difference, "rates": rates, **medians,
        "ratio": medians["fulcrum"] / medians["transformers"],
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
        return peer(case, folder, Path(folder), arguments.threads)
    if not arguments.ours:
        parser.error("name the built example with --ours")
    with tempfile.TemporaryDirectory() as folder:
        found = [compare(case, arguments, Path(folder)) for case in arguments.case or CASES]
    print(json.dumps(found))
    print("\n| case | rows | tokens | fulcrum, rows/s | transformers, rows/s | ratio |\n|---|---:|---:|---:|---:|---:|")
    for it in found:
        print(f"| {it['case']} | {it['rows']:,} | {it['tokens']:,} | {it['fulcrum']:.0f} | {it['transformers']:.0f} | {it['ratio']:.2f} |")


if __name__ == "__main__":
    main()
