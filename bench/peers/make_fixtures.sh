#!/usr/bin/env bash
# Fetches the peers (npm packages with compiled libraries, Debian's numpy) into a scratch folder and
# writes tests/models/fixtures with them. usage: make_fixtures.sh [SCRATCH_FOLDER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
fixtures=$here/../../tests/models/fixtures
scratch=${1:-${TMPDIR:-/tmp}/desta-peers}
python=/usr/bin/python3  # Debian's, which sees python3-numpy

"$python" -c 'import numpy' 2>/dev/null || apt-get install -y python3-numpy
mkdir -p "$scratch"
cp "$here/package.json" "$scratch/"
modules=$scratch/node_modules
# Only the libraries are used: no install scripts run, and what a package would build stays unbuilt.
(cd "$scratch" && npm install --ignore-scripts --omit=optional --no-package-lock)

# transformers.js without the ONNX runtime and image library that its audio functions do not call.
if [[ ! -d $modules/@xenova/transformers ]]; then
  (cd "$scratch" && npm pack --silent @xenova/transformers@2.17.2 >/dev/null)
  mkdir -p "$modules/@xenova/transformers"
  tar xzf "$scratch"/xenova-transformers-2.17.2.tgz --strip-components=1 -C "$modules/@xenova/transformers"
fi
for name in onnxruntime-node onnxruntime-web sharp; do
  mkdir -p "$modules/$name"
  echo "{\"name\": \"$name\", \"version\": \"0.0.0\", \"type\": \"module\", \"exports\": \"./index.js\"}" \
    > "$modules/$name/package.json"
  echo 'export const env = {wasm: {}}; export const InferenceSession = {}; export class Tensor {}
export default {env, InferenceSession, Tensor};' > "$modules/$name/index.js"
done

export PYTHONDONTWRITEBYTECODE=1
mkdir -p "$fixtures"
"$python" "$here/llama_fixtures.py" "$modules/@node-llama-cpp/linux-x64/bins/linux-x64" "$fixtures" 2>"$scratch/llama.log"
"$python" "$here/speech_fixtures.py" "$modules/@fugood/node-whisper-linux-x64/index.node" "$fixtures" 2>"$scratch/whisper.log"
node "$here/log_mel_fixtures.mjs" "$modules" "$fixtures"
# The stand-in's tokenizer was made by our own trainer; it is read where it lies.
node "$here/tokenizer_fixtures.mjs" "$modules" "$fixtures" "$fixtures/tokenizer-stand-in"
du -sh "$fixtures"
