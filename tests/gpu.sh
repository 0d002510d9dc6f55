#!/usr/bin/env bash
# Checks and measures what needs a GPU, in under 8 minutes, from binaries that another machine has built:
#
#   tests/gpu.sh --pack gpu.tar.gz     where there is a toolchain: builds, strips and packs what is needed (about 25 MB)
#   tests/gpu.sh gpu.tar.gz            where there is a GPU and a python3 with torch 2.11: runs everything
#   tests/gpu.sh gpu.tar.gz survival   runs these sections only
#   tests/gpu.sh --list                names the sections, and the longest that each may take
#   tests/gpu.sh --dry gpu.tar.gz      shows the commands, and runs none
#
# With FULCRUM_GPU_DEVICE=cpu everything that can do so runs on the CPU: that tries the script, and no GPU.
# A section passes, fails, or could not be run, and says which and why. The exit code is 1 if any failed, 3 if
# none failed but any could not be run, and 0 if all passed.
set -uo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
SECTIONS=(machine collective models training survival speed bf16)
DEVICE="${FULCRUM_GPU_DEVICE:-cuda}"
DRY=0
ARCHIVE=""
# The longest that a section may take, in seconds; together they stay below 8 minutes.
declare -A LIMIT=([machine]=30 [collective]=100 [models]=60 [training]=40 [survival]=120 [speed]=80 [bf16]=40)
declare -A PURPOSE=(
    [machine]="what this machine is: GPU, driver, torch, NCCL"
    [collective]="every collective operation over NCCL with 1 and 2 ranks; abort, a member that leaves, is killed, or hangs"
    [models]="logits, losses and gradients of every family, against the numbers of transformers"
    [training]="training steps on the GPU against those on the CPU, and twice to the same bytes"
    [survival]="a worker of a gang of two is killed in the middle of training; the run ends with the same results"
    [speed]="tokens per second and MFU of training, beside an eager PyTorch script on the same weights"
    [bf16]="the same with bf16 compute"
)

say() { printf '%s\n' "$*"; }

# Runs a command, or shows it.
try() {
    if [ "$DRY" -eq 1 ]; then
        say "    $*"
    else
        "$@"
    fi
}

# Ends a section that this machine or these binaries cannot run.
cannot() {
    say "    could not run: $*"
    return 3
}

# The test programs, and the words with which cargo picks them out.
TESTS=(--test processes --test checkpoints --test training)

pack() {
    local out folder
    out="$(realpath -m "$1")"
    folder="$(mktemp -d)"
    cd "$ROOT" && cargo build --bins && cp target/debug/fulcrum target/debug/fulcrum-worker "$folder" || return 1
    cargo test --workspace --no-run --message-format=json "${TESTS[@]}" | python3 -c 'import json, shutil, sys
for message in map(json.loads, sys.stdin):
    if message.get("executable") and "test" in message["target"]["kind"]:
        shutil.copy(message["executable"], sys.argv[1] + "/" + message["target"]["name"])' "$folder" || return 1
    strip "$folder"/* && tar -czf "$out" -C "$folder" . && rm -r "$folder" && ls -lh "$out"
}

# torch's libraries, which the binaries are linked to by name. NCCL and the rest of CUDA are found from there.
find_torch() {
    local lib
    lib="$(python3 -c 'import os, torch; print(os.path.join(os.path.dirname(torch.__file__), "lib"))')" || return 1
    export LD_LIBRARY_PATH="$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
}

gpus() { python3 -c 'import torch; print(torch.cuda.device_count())'; }

# The fixtures of a crate's tests lie in this checkout, not where the tests were built.
test_of() {
    local crate="$1" binary="$2"
    shift 2
    try env CARGO_MANIFEST_DIR="$ROOT/worker/$crate" FULCRUM_TEST_DEVICE="$DEVICE" "$BIN/$binary" "$@"
}

section_machine() {
    try python3 -c 'import torch
print("torch", torch.__version__, "nccl", torch.cuda.nccl.version() if torch.cuda.is_available() else "unused")' || return 1
    try "$BIN/fulcrum-worker" --version || return 1
    if [ "$DEVICE" = cpu ]; then
        cannot "no GPU was asked for"
        return
    fi
    try nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader
}

section_collective() { test_of collective processes; }

section_models() { test_of models checkpoints parity:: --test-threads 2; }

section_training() { test_of train training device:: --test-threads 1; }

# Two workers on one GPU take turns on it, so the experiment is small.
experiment() {
    cat <<'TOML'
name = "survival"
recipe = "weak-to-strong"
seeds = [0]
[task]
source = "builtin:arithmetic"
[task.arithmetic]
below = 64
[task.split]
ground_truth = 200
weak_labels = 200
test = 100
[[model]]
name = "small"
layers = 1
hidden = 16
heads = 2
context = 16
[[model]]
name = "large"
layers = 1
hidden = 32
heads = 2
context = 16
[pretrain]
rows = 3200
epochs = 1
batch = 16
micro_batch = 8
learning_rate = 3e-3
[methods]
run = ["naive"]
pairs = "weaker-to-stronger"
[train]
epochs = 1
batch = 16
micro_batch = 8
learning_rate = 3e-3
[parallel]
workers = 2
TOML
}

# Kills the second worker once a training stage is well under way; fails if none ever is.
kill_one() {
    python3 - "$BIN/fulcrum" "$1" <<'PYTHON'
import json, os, signal, subprocess, sys, time
fulcrum, runs = sys.argv[1:]
for _ in range(600):
    status = subprocess.run([fulcrum, "status", "survival", "--runs", runs, "--json"], capture_output=True, text=True)
    status = json.loads(status.stdout) if status.returncode == 0 and status.stdout else {}
    training = [s for s in status.get("stages", []) if s["kind"] == "train" and s["state"] == "running"]
    if any(int(stage["done"]) >= 160 for stage in training):
        pid = next(int(w["pid"]) for w in status["workers"] if w["worker"] == "w1")
        os.kill(pid, signal.SIGKILL)
        print(f"    killed w1, process {pid}, in {training[0]['name']}")
        sys.exit(0)
    time.sleep(0.1)
sys.exit("    no training stage was seen under way")
PYTHON
}

section_survival() {
    local place run device="$DEVICE"
    # Where there are two GPUs each worker has its own.
    if [ "$DEVICE" = cuda ] && { [ "$DRY" -eq 1 ] || [ "$(gpus)" -lt 2 ]; }; then
        device=cuda:0
    fi
    place="$(mktemp -d)"
    experiment > "$place/survival.toml"
    for run in whole killed; do
        set -- "$BIN/fulcrum" run "$place/survival.toml" --runs "$place/$run" --store "$place/$run-store" \
            --workers 2 --threads 1 --device "$device"
        if [ "$DRY" -eq 1 ]; then
            try "$@"
            continue
        fi
        "$@" > "$place/$run.log" 2>&1 &
        local pid=$!
        if [ "$run" = killed ]; then
            kill_one "$place/killed" || { kill "$pid"; wait "$pid"; tail -n 5 "$place/$run.log"; return 1; }
        fi
        wait "$pid" || { tail -n 5 "$place/$run.log"; return 1; }
    done
    [ "$DRY" -eq 1 ] && return 0
    say "    results of both runs: the same bytes, or the first difference:"
    cmp "$place/whole/survival/results.json" "$place/killed/survival/results.json" || return 1
    rm -r "$place"
}

# Ours and then PyTorch's, on the same shape. More in docs/gpu.md.
compare_speed() {
    local precision="$1" shape=(--shape gpt2-120m --world 1 --batch 16 --seq 512 --steps 20 --json)
    if [ "$DRY" -eq 0 ] && ! "$BIN/fulcrum" bench train --help 2> /dev/null | grep -q -- --precision; then
        cannot "these binaries have no \`fulcrum bench train --precision\`"
        return
    fi
    if ! [ -f "$ROOT/benchmarks/peers/ddp.py" ]; then
        say "    no benchmarks/peers/ddp.py in this checkout: ours alone"
    fi
    local device="$DEVICE"
    [ "$DEVICE" = cuda ] && device=cuda:0
    try "$BIN/fulcrum" bench train "${shape[@]}" --device "$device" --precision "$precision" || return 1
    [ -f "$ROOT/benchmarks/peers/ddp.py" ] || return 0
    try python3 "$ROOT/benchmarks/peers/ddp.py" "${shape[@]}" --device "$device" --precision "$precision"
}

section_speed() { compare_speed fp32; }

section_bf16() { compare_speed bf16; }

# Runs one section within its time; sets `outcome`.
run_section() {
    local section="$1" begun=$SECONDS code=0
    say "== $section: ${PURPOSE[$section]}"
    if [ "$DRY" -eq 1 ]; then
        "section_$section" || code=$?
    else
        # In a shell of its own: what is over time is ended with all that it started.
        timeout --kill-after=5 "${LIMIT[$section]}" bash -c "$(declare -p ROOT BIN DEVICE DRY); $(declare -f); section_$section" || code=$?
    fi
    case "$code" in
        0) outcome="passed" && [ "$DRY" -eq 1 ] && outcome="shown" ;;
        3) outcome="could not be run" ;;
        124 | 137) outcome="FAILED: not done within ${LIMIT[$section]} s" ;;
        *) outcome="FAILED with code $code" ;;
    esac
    say "== $section: $outcome ($((SECONDS - begun)) s)"
}

main() {
    local wanted=() outcomes=() outcome="" argument section
    for argument in "$@"; do
        case "$argument" in
            --list)
                for section in "${SECTIONS[@]}"; do printf '%-11s %4d s  %s\n' "$section" "${LIMIT[$section]}" "${PURPOSE[$section]}"; done
                return 0
                ;;
            --dry) DRY=1 ;;
            --pack) pack "${@: -1}"; return ;;
            -*) say "error: no option $argument; see the head of this file" >&2; return 2 ;;
            *) if [ -z "$ARCHIVE" ]; then ARCHIVE="$argument"; else wanted+=("$argument"); fi ;;
        esac
    done
    [ -n "$ARCHIVE" ] || { say "error: name the archive that --pack made" >&2; return 2; }
    for section in "${wanted[@]}"; do
        [ -n "${PURPOSE[$section]:-}" ] || { say "error: no section $section; --list names them" >&2; return 2; }
    done
    BIN=BIN
    if [ "$DRY" -eq 0 ]; then
        BIN="$(mktemp -d)"
        trap 'rm -rf "$BIN"' EXIT
        tar -xzf "$ARCHIVE" -C "$BIN" || return 2
        find_torch || { say "error: python3 has no torch, whose libraries the binaries need" >&2; return 2; }
        [ "$DEVICE" = cpu ] || [ "$(gpus)" -gt 0 ] || { say "error: torch sees no GPU on this machine" >&2; return 2; }
    fi
    [ "${#wanted[@]}" -gt 0 ] || wanted=("${SECTIONS[@]}")
    for section in "${wanted[@]}"; do
        run_section "$section"
        outcomes+=("$section: $outcome")
    done
    say "all sections:"
    printf '    %s\n' "${outcomes[@]}"
    case " ${outcomes[*]} " in
        *FAILED*) return 1 ;;
        *"could not"*) return 3 ;;
    esac
}

main "$@"
