#!/usr/bin/env bash
# Everything that is to be shown on a GPU, on a machine that has PyTorch and no Rust: checks first, then ours and the peers.
#
#     xtask/gpu/round.sh BIN ORT WORK PART...
#
# BIN holds the programs and examples of a release build (cargo xtask bench --gpu says which), ORT a folder with
# ONNX Runtime's CUDA build, WORK is scratch. Parts: kernels, train, train-more, resume,
# peers-train, operators, infer, peers-forward.
# What it prints is the report; logs lie in WORK/logs. Ends with 1 where a check fails.
set -u
bin=$(realpath "$1") ort=$(realpath "$2") work=$3
shift 3
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")") root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
mkdir -p "$work/logs" "$work/runs" "$work/lib" "$work/bin"
work=$(realpath "$work") failed=0

# As an installation has it: programs in bin/, libtorch's CUDA half in lib/cuda.
cp -f "$bin"/* "$work/bin/"
if torch=$(python3 -c 'import torch, os; print(os.path.dirname(torch.__file__))' 2>/dev/null); then
    ln -sfn "$torch/lib" "$work/lib/cuda"
    LD_LIBRARY_PATH=$torch/lib:$(find "$(dirname "$torch")/nvidia" -name lib -type d | tr '\n' ':')
    export LD_LIBRARY_PATH
else
    # The programs know where the libraries lie that they were built with.
    echo "python3 has no PyTorch: its side is left out"
fi
ORT_DYLIB_PATH=$(find "$ort" -name libonnxruntime.so | head -1)
export ORT_DYLIB_PATH
bin=$work/bin

# timed LIMIT LOG COMMAND...: seconds and exit code of a command, its output in a log.
timed() {
    local limit=$1 log=$work/logs/$2 start rc
    shift 2
    start=$(date +%s.%N)
    timeout "$limit" "$@" >"$log" 2>&1
    rc=$?
    awk -v a="$start" -v b="$(date +%s.%N)" -v rc=$rc -v name="$(basename "$log")" \
        'BEGIN { printf "   %s: exit code %d after %.1f s\n", name, rc, b - a }'
    return $rc
}

# check NAME LIMIT COMMAND...: a command whose failure is a failure of the round.
check() {
    local name=$1 limit=$2
    shift 2
    timed "$limit" "$name" "$@" || { failed=1; tail -3 "$work/logs/$name" | cut -c1-300; }
}

data() {
    [ -e "$work/data/cifar-10-batches-bin/test_batch.bin" ] && return
    mkdir -p "$work/data/cifar-10-batches-bin"
    python3 - "$work/data/cifar-10-batches-bin" <<'PY'
import sys, numpy as np
random = np.random.default_rng(0)
for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
    squares = random.integers(0, 256, (10000, 3, 4, 4), dtype=np.uint8)  # smooth: something to learn
    images = np.kron(squares, np.ones((1, 1, 8, 8), dtype=np.uint8)).reshape(10000, -1)
    labels = random.integers(0, 10, (10000, 1), dtype=np.uint8)
    np.concatenate([labels, images], 1).tofile(f"{sys.argv[1]}/{name}.bin")
PY
}

# train NAME METHOD CONFIG OPTIONS...: one epoch; images/s of every 30 steps and the loss.
train() {
    local name=$1 method=$2 config=$3
    shift 3
    check "train-$name" 60 "$bin/ddae-train" "$method" --config "$root/configs/$config.yaml" --data-root "$work/data" \
        --run "$work/runs/$name" --device cuda --epochs 1 --log-every 30 --set n_sample=0 "$@"
    grep -hE "^kernels|^warning|^trained" "$work/logs/train-$name" | sed 's/^/   /'
    python3 - "$work/runs/$name/stats.jsonl" <<'PY'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
lines = [line for line in lines if line.get("images_per_second")]
print("   images/s", [round(line["images_per_second"]) for line in lines], "loss", [round(line["loss"], 4) for line in lines])
PY
}

same_tensors() {
    python3 - "$@" <<'PY'
import sys
from safetensors import safe_open
def load(path):
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}
a, b = map(load, sys.argv[1:])
differ = [key for key in a if key not in b or not a[key].equal(b[key])]
print(f"   {len(a)} tensors, {len(differ)} differ")
sys.exit(a.keys() != b.keys() or bool(differ))
PY
}

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
date
for part in "$@"; do
    echo "== $part"
    case $part in
        peers-*) [ -n "$torch" ] || continue ;;&
        kernels)
            check kernels 60 "$bin/cuda_norm"
            grep -E "us \[|WRONG" "$work/logs/kernels" | cut -c1-150
            ;;
        train)
            data
            train ddpm diffusion DDPM_ddpm --amp bf16 --trace "$work/logs/trace.json"
            train ddpmpp diffusion EDM_ddpmpp --amp bf16
            train demo diffusion demo --amp bf16
            ;;
        train-more)
            data
            train ddpm-again diffusion DDPM_ddpm --amp bf16
            train ddpm-fp16 diffusion DDPM_ddpm --amp fp16
            train ddpm-plain diffusion DDPM_ddpm --amp bf16 --no-kernels
            train soda soda soda_cifar10 --amp bf16
            ;;
        resume)
            one() {
                "$bin/ddae-train" diffusion --config "$root/configs/demo.yaml" --device cuda --set n_sample=0 --epochs 10 \
                    --amp bf16 --deterministic --quiet --save-minutes 0.005 "$@"
            }
            timed 40 whole bash -c "$(declare -f one); bin=$bin root=$root; one --run $work/runs/whole" || failed=1
            one --run "$work/runs/cut" >"$work/logs/cut" 2>&1 &
            pid=$!
            sleep 3.2
            pkill -9 -P $pid
            kill -9 $pid
            wait $pid 2>/dev/null
            ls "$work/runs/cut/checkpoints" | tr '\n' ' '
            echo
            timed 40 resumed bash -c "$(declare -f one); bin=$bin root=$root; one --run $work/runs/cut --resume" || failed=1
            grep -h "^resume" "$work/runs/cut/log.txt" | sed 's/^/   /'
            same_tensors "$work"/runs/{whole,cut}/checkpoints/latest.safetensors || failed=1
            ;;
        peers-train) timed 90 peers-train python3 "$here/peer.py" --only matmul,train-published,train-graph; cat "$work/logs/peers-train" ;;
        peers-forward) timed 120 peers-forward python3 "$here/peer.py" --only forward-published,forward-compiled; cat "$work/logs/peers-forward" ;;
        operators)
            check operators 40 "$bin/cuda_ops" --device 0
            grep -E "WRONG|FAILED|wrong or failed|noise" "$work/logs/operators" | cut -c1-200
            ;;
        infer)
            data
            ddpm=$work/ddpm.safetensors
            check checkpoint 20 "$bin/rule_checkpoint" unet-ddpm "$ddpm"
            export_to() { check "export-$1" 60 "$bin/ddae-export" "$ddpm" --force -o "$work/$1.onnx" "${@:2}"; }
            published=(--config "$root/configs/DDPM_ddpm.yaml")
            export_to features "${published[@]}" --graph features --taps out_6 --input u8 --target cuda
            export_to features-portable "${published[@]}" --graph features --taps out_6 --input u8
            export_to sampler "${published[@]}" --graph sampler --target cuda
            export_to sampler-edm --config "$root/configs/EDM_ddpm.yaml" --graph sampler --target cuda
            for graph in sampler features; do
                timed 40 "speed-$graph" "$bin/cuda_speed" --device 0 --batch 256,1024 "$work/$graph.onnx"
                grep -h "images/s" "$work/logs/speed-$graph"
            done
            extract() {
                check "$1" 60 "$bin/ddae-infer" features "$work/$2.onnx" --data cifar10 --data-root "$work/data" -o "$work/$1" "${@:3}"
                grep -hE "images/s|rows|warning|note" "$work/logs/$1" | tail -4 | cut -c1-200
            }
            extract job features --device cuda --timesteps 11,101 --batch 512
            extract job-again features --device cuda --timesteps 11,51,101,201 --batch 512
            extract cpu features-portable --device cpu --timesteps 11 --limit 128
            extract cuda-f32 features-portable --device cuda --timesteps 11 --limit 128
            extract cuda-f16 features --device cuda --timesteps 11 --limit 128
            python3 - "$work" <<'PY' || failed=1
import sys, numpy as np
try:
    import h5py
except ImportError:
    sys.exit(print("   no h5py here: features not compared"))
def rows(name):
    with h5py.File(f"{sys.argv[1]}/{name}.h5") as file:
        return np.asarray(file["features/t11/out_6"], dtype=np.float64).reshape(128, -1)
cpu = rows("cpu")
bad = 0
for name, bound in ("cuda-f32", 1e-5), ("cuda-f16", 1e-3):
    error = np.linalg.norm(rows(name) - cpu) / np.linalg.norm(cpu)
    bad |= not error <= bound
    print(f"   {name} against the CPU: {error:.1e} relative (at most {bound:g})")
sys.exit(bad)
PY
            for sampler in "sampler ddim 100" "sampler-edm edm 18"; do
                set -- $sampler
                check "sample-$2" 60 "$bin/ddae-infer" sample "$work/$1.onnx" --device cuda --batch 512 --sampler "$2" --steps "$3" \
                    --seeds 0-2047 --no-png --npy "$work/$2.npy"
                grep -hE "images/s|images" "$work/logs/sample-$2" | tail -2 | cut -c1-200
            done
            ;;
        *) echo "unknown part $part"; failed=1 ;;
    esac
done
date
exit $failed
