"""The peer of `fulcrum bench train`: PyTorch's DistributedDataParallel around a model of transformers.

    python benchmarks/peers/ddp.py --shape gpt2-30m --world 2 --batch 8 --seq 128 --steps 20 --json

takes the same options, trains on the same rows with the same optimizer (fused AdamW, gradients clipped to norm 1) and
prints the same keys; `communication` is null, as DDP waits within the backward pass. One process for each rank, one
thread each unless --threads says otherwise, over gloo, or nccl on GPUs. Gradients are views of DDP's buckets, which
saves it a copy of them. --plain leaves DDP out where there is one rank.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import time


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--model", help="a folder with config.json and model.safetensors")
    where.add_argument("--shape", help="random weights of a shape of `fulcrum bench`")
    parser.add_argument("--head", choices=["classifier", "lm"], default="classifier")
    parser.add_argument("--world", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8, help="rows per step on each rank")
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="no DDP where there is one rank")
    parser.add_argument("--json", action="store_true", help="the only form there is")
    return parser.parse_args()


def peak_rss_mib():
    """The kernel's VmHWM."""
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


class Clock:
    """Where the time of a step goes; waits for a GPU at each lap."""

    def __init__(self, device):
        self.device, self.steps = device, []

    def start(self):
        self.split, self.since = {}, time.perf_counter()

    def lap(self, part):
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.split[part], self.since = now - self.since, now

    def stop(self):
        self.steps.append(self.split)


def train(arguments, rank):
    """One rank; what it measured."""
    import numpy
    import torch
    import torch.distributed as dist

    import models

    torch.set_num_threads(arguments.threads)
    device = torch.device(f"cuda:{rank}" if arguments.device == "cuda" else arguments.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed = arguments.world > 1 or not arguments.plain
    if distributed:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if arguments.model:
        model = models.read(arguments.model, arguments.head)
    else:
        model = models.make(arguments.shape, arguments.head)
    model = model.to(device).train()
    parameters = list(model.parameters())
    decay = [p for p in parameters if p.ndim >= 2]
    rest = [p for p in parameters if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, fused=True)
    network = model
    if distributed:
        network = torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    batch, seq = arguments.batch, arguments.seq
    ids, classes = models.rows(rank * batch, batch, seq, model.config.vocab_size, arguments.seed)
    mask = torch.ones_like(ids)
    labels = classes if arguments.head == "classifier" else ids
    half = torch.autocast(device.type, torch.bfloat16) if arguments.precision == "bf16" else contextlib.nullcontext()
    clock, losses = Clock(device), []
    for _ in range(arguments.warmup + arguments.steps):
        clock.start()
        inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device), "labels": labels.to(device)}
        clock.lap("data")
        with half:
            loss = network(**inputs, use_cache=False).loss
        clock.lap("forward")
        loss.backward()
        clock.lap("backward")
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
        clock.lap("optimizer")
        clock.stop()
    mean = torch.stack(losses).double()
    memory = [peak_rss_mib(), torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None]
    memories = [memory]
    if distributed:
        dist.all_reduce(mean)
        mean /= arguments.world
        memories = [None] * arguments.world
        dist.all_gather_object(memories, memory)
        dist.destroy_process_group()
    timed = clock.steps[arguments.warmup :]
    times = [sum(split.values()) for split in timed]
    p10, p50, p90, p99 = (float(value) for value in numpy.quantile(times, [0.1, 0.5, 0.9, 0.99]))
    split = {part: float(numpy.median([step[part] for step in timed])) for part in timed[0]}
    examples = arguments.world * batch / p50
    return {
        "bench": "train", "world": arguments.world, "threads": arguments.threads, "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "steps": arguments.steps, "warmup": arguments.warmup,
        "model": arguments.model or arguments.shape, "head": arguments.head,
        "parameters": sum(p.numel() for p in parameters), "batch": batch, "seq": seq,
        "precision": arguments.precision, "strategy": "data" if distributed else "plain",
        "examples_per_s": examples, "tokens_per_s": examples * seq, "mfu": None,
        "step_s": p50, "quantiles": {"p10": p10, "p50": p50, "p90": p90, "p99": p99},
        "split": {**split, "communication": None},
        "loss": {"first": float(mean[0]), "last": float(mean[-1])},
        "peak_rss_mib": [memory[0] for memory in memories],
        "device_memory_mib": [memory[1] for memory in memories] if device.type == "cuda" else None,
    }


def launch(arguments):
    """Starts a process for each rank and waits for them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = str(arguments.threads)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(arguments.world)}
    common = {**os.environ, **meeting, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, __file__, *sys.argv[1:]]
    ranks = [subprocess.Popen(command, env={**common, "RANK": str(rank)}) for rank in range(arguments.world)]
    codes = [rank.wait() for rank in ranks]
    return max(abs(code) for code in codes)


def main():
    arguments = parse()
    if "RANK" not in os.environ:
        sys.exit(launch(arguments))
    rank = int(os.environ["RANK"])
    found = train(arguments, rank)
    if rank == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
