"""How soon a fault is noticed, how soon the training gets on again, and how many steps it does twice.

    python benchmarks/recovery.py [--fulcrum target/debug/fulcrum] [--rounds 5]

Needs a build with fault points (the default profile) and nothing but the standard library. Each round is a run of one training on two
workers, with a checkpoint every 20 steps. A fault leaves a mark when it strikes; from there on, the logs of coordinator and
workers tell the rest.

noticed   from the strike until the coordinator says that the worker is gone, or the next coordinator listens
going on  from the strike until the gang trains again: it has read the checkpoint from which it goes on, or begins with another
          training that stands before it in the plan; where none is interrupted, until the next coordinator has its workers back
steps     done before the strike and not kept
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

EXPERIMENT = """
name   = "recovery"
recipe = "weak-to-strong"

[task]
source = "builtin:arithmetic"
split  = { ground_truth = 64, weak_labels = 64, test = 40 }

[[model]]
name    = "small"
layers  = 1
hidden  = 16
heads   = 2
context = 16

[[model]]
name    = "large"
layers  = 2
hidden  = 32
heads   = 2
context = 16

[pretrain]
rows        = 8000
batch       = 32
micro_batch = 16

[checkpoint]
steps = 20
"""

STRIKE = 117
SINCE = STRIKE // 20 * 20
CASES = {
    "worker: SIGKILL": f"step.update rank=last step={STRIKE} kind=kill",
    "worker: SIGSTOP for 4 s": f"step.update rank=last step={STRIKE} kind=stop",
    "worker: its thread hangs, stall of 6 s": f"step.update rank=last step={STRIKE} kind=hang",
    "coordinator: SIGKILL": "coordinator.checkpoint.after kind=kill",
    "storage: a checkpoint cannot be written": "snapshot.tensors rank=last kind=error",
}
STAMP = re.compile(r"^(\d{4}-\d\d-\d\dT[\d:.]+)Z +\w+ [^:]+(?:::[^:]+)*: (.*)$")


def lines(path):
    """Times and words of a log."""
    for line in path.read_text(errors="replace").splitlines():
        if found := STAMP.match(line):
            at = datetime.datetime.fromisoformat(found[1] + "+00:00").timestamp()
            yield at, found[2]


def start(fulcrum, place, fault=None):
    """Begins or continues the run."""
    environment = dict(os.environ, FULCRUM_STALL_SECONDS="6")
    if fault:
        (place / "marks").mkdir()
        environment.update(FULCRUM_FAULT=fault, FULCRUM_FAULT_ONCE=str(place / "marks"))
    command = [fulcrum, "run", "recovery.toml", "--workers", "2", "--threads", "1"]
    null = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=place, env=environment, stdout=null, stderr=null, start_new_session=True)


def first(found, at, *words):
    """When one of these words was first said after a time."""
    return next((time for time, line in found if time > at and any(word in line for word in words)), None)


def restored(place, at):
    """When a gang trained again after a time, and from which step the training that was struck went on."""
    begun, read = [], []
    for path in (place / "runs/recovery/logs").glob("w*.log"):
        for time_, line in lines(path):
            if time_ > at and re.match(r'epoch \d+: "pretrain \w+", rank', line):
                begun.append(time_)
            if time_ > at and (step := re.match(r"goes on from step (\d+)", line)):
                read.append((time_, int(step[1])))
    if not read:
        return None, None
    (first_read, step), second = min(read), sorted(begun)[2:3]
    # Where a second gang began before, the first had another training to do.
    return (min(begun) if second and second[0] < first_read else first_read), step


def round_of(fulcrum, fault):
    """One run with one fault: noticed and going on in seconds, and steps."""
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        (place / "recovery.toml").write_text(EXPERIMENT)
        code = start(fulcrum, place, fault).wait()
        assert code == 0, f"{fault}: the run ended with {code}"
        marks = list((place / "marks").iterdir())
        assert marks, f"{fault}: it did not strike"
        at = min(mark.stat().st_mtime for mark in marks)
        found = list(lines(place / "runs/recovery/logs/coordinator.log"))
        if fault.startswith("snapshot"):
            assert restored(place, at) == (None, None), "the training was interrupted"
            return first(found, at, "no checkpoint after step"), at, 0, at
        if fault.startswith("coordinator"):
            listens = first(found, at, "listens on")
            assert restored(place, at) == (None, None), "the training was interrupted"
            return listens, first(found, listens, ": all are"), 0, at
        noticed = first(found, at, "is gone", "has not got on")
        on, step = restored(place, noticed)
        return noticed, on, STRIKE - step, at


def damaged(fulcrum):
    """The whole run is killed, a byte of its newest checkpoint flips, and the run is begun again."""
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        (place / "recovery.toml").write_text(EXPERIMENT)
        run, log = start(fulcrum, place), place / "runs/recovery/logs/coordinator.log"
        while not (log.exists() and "can go on from step 100" in log.read_text(errors="replace")):
            assert run.poll() is None, "the run ended too early"
            time.sleep(0.002)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        found = [line for _, line in lines(log)]
        kept = max(int(step[1]) for line in found if (step := re.search(r'can go on from step (\d+)', line)))
        newest = max((place / "fulcrum-store/training").glob(f"*/*-{kept}/rank-0.safetensors"))
        content = bytearray(newest.read_bytes())
        content[-1] ^= 1
        newest.write_bytes(content)
        at = time.time()
        assert start(fulcrum, place).wait() == 0
        on, step = restored(place, at)
        return on, on, kept - step, at


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fulcrum", default="target/debug/fulcrum")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    fulcrum = str(pathlib.Path(args.fulcrum).resolve())
    assert shutil.which(fulcrum), f"{fulcrum} is no program: cargo build --bins first"
    rounds = {name: [round_of(fulcrum, fault) for _ in range(args.rounds)] for name, fault in CASES.items()}
    rounds["storage: the newest checkpoint is damaged, all processes killed"] = [
        damaged(fulcrum) for _ in range(args.rounds)
    ]
    print("| fault | noticed after, s | going on after, s | steps done twice |\n|---|---:|---:|---:|")
    for name, found in rounds.items():
        noticed = statistics.median(noticed - at for noticed, _, _, at in found)
        on = statistics.median(on - at for _, on, _, at in found)
        steps = statistics.median(steps for _, _, steps, _ in found)
        print(f"| {name} | {noticed:.2f} | {on:.2f} | {steps:g} |")


if __name__ == "__main__":
    main()
