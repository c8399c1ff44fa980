#!/usr/bin/env bash
# Proves the programs on a GPU, and measures them next to PyTorch.
#
#   tests/gpu/check.sh pack FILE     builds here and packs what must travel (needs no GPU)
#   tests/gpu/check.sh unpack FILE   unpacks it into the folder where it is called
#   ./check.sh run [DEVICE]          there: runs it all within 8 minutes, on cuda unless DEVICE says otherwise
#
# On a device that is not CUDA the same parts run with small networks: `run vulkan` proves this script on Mesa's
# software Vulkan, where the publication's network would take hours.
#
# Every part has a time limit of its own, the most important comes first, and each result is one line of JSON as soon as
# it is there, so that a run that is cut off still says something. The exit code is 0 if every part held.
set -uo pipefail

pack() {
  local file=$1 target=target/gpu packed
  cd "$(dirname "$0")/../.."
  packed=$(mktemp -d)
  # The packages and features of .ci/run, each time the same: with others, burn would be compiled again.
  local gpus="--release --locked -p coordinator -p site-agent -p journeys
    --features site-agent/cuda,site-agent/vulkan --target-dir $target"
  cargo build $gpus --bins
  # Cargo names test programs by a hash: it says where they are.
  executable() {
    cargo test $gpus --no-run --message-format json "$@" 2>/dev/null |
      grep -o '"executable":"[^"]*/site_agent-[^"]*"\|"executable":"[^"]*/step-[^"]*"' | tail -n 1 | cut -d '"' -f 4
  }
  cp $target/release/site-agent $target/release/coordinator "$packed"
  cp "$(executable --lib)" "$packed/units"
  cp "$(executable --bench step)" "$packed/step"
  cp tests/gpu/check.sh tests/gpu/federation.toml tests/gpu/pytorch.py "$packed"
  strip "$packed"/{site-agent,coordinator,units,step}
  # One window over all files, with calls as absolute addresses: the programs have most of their code in common.
  tar c -C "$packed" . | xz --x86 --lzma2=preset=9e,dict=512MiB > "$file"
  rm -r "$packed"
  ls -l "$file"
}

say() { printf '{"part": "%s", "held": %s, "seconds": %s}\n' "$1" "$2" "$3"; }

failed=0
# part NAME LIMIT COMMAND...: its output is shown; it held if it ended with 0.
part() {
  local name=$1 limit=$2 start=$SECONDS held=true
  shift 2
  timeout --kill-after=5 "$limit" "$@" || { held=false; failed=1; }
  say "$name" $held $((SECONDS - start))
}

# What a run of the federation came to, from its report and its own record.
summary() {
  python3 - "$1" <<'PYTHON'
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
report = json.loads((folder / "report.json").read_text())
rounds = [{"seconds": round(r["seconds"], 1), "slices_a_second": [round(u["slices"] / u["seconds"], 1) for u in r["updates"]],
           "compute": [u["compute"] for u in r["updates"]]} for r in report["rounds"]]
harbour = next(site for site in report["sites"] if site["name"] == "harbour")["metrics"]
print(json.dumps({"federation": rounds, "auc_brain": harbour["auc_brain"]["mean"], "dice": harbour["dice"]["mean"]}))
PYTHON
}

federation() {
  local changes="s/DEVICE/$1/"
  if [[ $1 != cuda* ]]; then
    changes="$changes; s/^preset = .*/preset = \"tiny\"/; s/^plane = .*/plane = 32/; s/^steps = .*/steps = 4/"
    changes="$changes; s/^batch = .*/batch = 2/; s/^slices = 32/slices = 12/"
  fi
  sed "$changes" federation.toml > federation-here.toml
  rm -rf federation-run
  ./coordinator simulate federation-here.toml --out federation-run > federation.log 2>&1 || { tail -n 20 federation.log; return 1; }
  summary federation-run
}

run() {
  local device=${1:-cuda} large=paper networks="paper full" batches="8 32 1" repeats=10 threads=8 doctor_limit=60
  cd "$(dirname "$0")"
  if [[ $device != cuda* ]]; then
    # The doctor tries the publication's network in any case, which takes a processor minutes.
    large=tiny networks=tiny batches="2 1" repeats=3 threads=2 doctor_limit=900
  fi
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null
  export LACUNA_DEVICE=$device
  # a. The same numbers as the processor's: three training steps and probabilities; every operator and its gradient.
  part "tiny compared with the processor" 90 ./step tiny --device "$device" --against cpu
  part "$large compared with the processor" 100 ./step $large --batch 2 --threads $threads --device "$device" --against cpu
  part "operators, training, mixed precision" 120 ./units --test-threads 4 device:: train::tests::gpu
  # b. A federation at the publication's size.
  part "federation" 120 ./check.sh federation "$device"
  # c. Speed, next to PyTorch on the same GPU in the same minutes. The second start has everything compiled.
  part "doctor" $doctor_limit ./site-agent doctor --device "$device"
  for compute in f32 bf16; do
    for batch in $batches; do
      for network in $networks; do
        part "$network $batch $compute" 40 ./step $network --batch $batch --compute $compute --device "$device" \
          --repeats $repeats
      done
    done
  done
  if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    part "PyTorch" 60 python3 pytorch.py paper:8:f32 full:8:f32 paper:8:bf16 full:8:bf16 paper:32:bf16 paper:32:f32
  else
    echo '{"part": "PyTorch", "skipped": "no PyTorch that sees a GPU"}'
  fi
  # d. Where a training step's time goes.
  part "profile" 40 ./step $large --batch ${batches%% *} --device "$device" --repeats 3 --profile
  return $failed
}

case ${1:-} in
  pack) pack "$(realpath "${2:?the file to write}")" ;;
  unpack) xz -dc "${2:?the packed file}" | tar x ;;
  run) run ${2:+"$2"} ;;
  federation) federation "${2:-cuda}" ;;
  *) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
