"""Training beside PyTorch: `fulcrum bench train` and ddp.py in turn, on the same weights, rows, threads and machine.

    cargo build --bins
    python benchmarks/peers/compare.py

needs torch 2.11, transformers and numpy. Every round runs both sides once, so that whatever else the machine does hits
them alike, and begins with the other one. Both must come to the same losses, or there is no result. Prints a line of
JSON and a table in Markdown: medians over rounds of tokens per second and of the largest rank's peak memory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEER = Path(__file__).with_name("ddp.py")
# How far the losses may lie apart: the first follows from the weights alone, the last from all steps.
FIRST, LAST = 1e-4, 2e-2


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fulcrum", default=str(ROOT / "target/debug/fulcrum"))
    parser.add_argument("--shape", action="append", help="again for more [default: the 30m and 120m of gpt2 and llama]")
    parser.add_argument("--head", action="append", choices=["classifier", "lm"], help="[default: classifier]")
    parser.add_argument("--world", action="append", type=int, help="[default: 1 and 2]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="timed steps [default: 10, or 5 of the 120m]")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8, help="rows per step on each rank")
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="the peer without DDP where there is one rank")
    return parser.parse_args()


def run(command, threads):
    """The last line that a side prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def check(case, ours, theirs):
    """Ends the program if the sides did not do the same."""
    for what, most in [("first", FIRST), ("last", LAST)]:
        mine, other = ours["loss"][what], theirs["loss"][what]
        if not abs(mine - other) <= most * max(1.0, abs(other)):
            sys.exit(f"{case}: the {what} loss is {mine} here and {other} there")
    if ours["parameters"] != theirs["parameters"]:
        sys.exit(f"{case}: {ours['parameters']} parameters here and {theirs['parameters']} there")


def compare(arguments, shape, head, world, model):
    """Both sides in turn."""
    steps = arguments.steps or (5 if "120m" in shape else 10)
    words = ["--model", model, "--head", head, "--json"]
    numbers = {"world": world, "batch": arguments.batch, "seq": arguments.seq, "steps": steps,
               "warmup": arguments.warmup, "threads": arguments.threads}
    for name, value in numbers.items():
        words += [f"--{name}", str(value)]
    sides = {
        "fulcrum": [arguments.fulcrum, "bench", "train", *words],
        "pytorch": [sys.executable, str(PEER), *words, *(["--plain"] if arguments.plain else [])],
    }
    found = {side: [] for side in sides}
    for number in range(arguments.rounds):
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for side in order:
            found[side].append(run(sides[side], arguments.threads))
        check(f"{shape} {head} world {world}", found["fulcrum"][-1], found["pytorch"][-1])
    median = lambda side, value: statistics.median(value(one) for one in found[side])
    rate = {side: median(side, lambda one: one["tokens_per_s"]) for side in sides}
    memory = {side: median(side, lambda one: max(one["peak_rss_mib"])) for side in sides}
    split = {side: {part: median(side, lambda one: one["split"][part]) for part in found[side][0]["split"]
                    if found[side][0]["split"][part] is not None} for side in sides}
    return {
        "shape": shape, "head": head, **numbers, "rounds": arguments.rounds, "tokens_per_s": rate,
        "peak_rss_mib": memory, "split": split, "rates": {side: [one["tokens_per_s"] for one in found[side]] for side in sides},
        "speed_ratio": rate["fulcrum"] / rate["pytorch"], "memory_ratio": memory["fulcrum"] / memory["pytorch"],
    }


def main():
    arguments = parse()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in arguments.shape or ["gpt2-30m", "llama-30m", "gpt2-120m", "llama-120m"]:
            for head in arguments.head or ["classifier"]:
                model = str(Path(folder) / f"{shape}-{head}")
                make = [sys.executable, str(PEER.with_name("models.py")), "--shape", shape, "--head", head, "--out", model]
                subprocess.run(make, check=True)
                for world in arguments.world or [1, 2]:
                    found.append(compare(arguments, shape, head, world, model))
                    print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    print(json.dumps(found))
    print("\n| shape | head | ranks | fulcrum, tokens/s | PyTorch, tokens/s | ratio | fulcrum, MiB | PyTorch, MiB | ratio |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for it in found:
        rate, memory = it["tokens_per_s"], it["peak_rss_mib"]
        print(f"| {it['shape']} | {it['head']} | {it['world']} | {rate['fulcrum']:,.0f} | {rate['pytorch']:,.0f} | {it['speed_ratio']:.2f} "
              f"| {memory['fulcrum']:,.0f} | {memory['pytorch']:,.0f} | {it['memory_ratio']:.2f} |")


if __name__ == "__main__":
    main()
