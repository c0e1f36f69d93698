#!/usr/bin/env bash
# Makes data/people/manifest.jsonl from Debian's pocketsphinx-testdata: ten recordings of two real people
# with their words (a LibriVox reader, and somebody who names playing cards).
set -euo pipefail
cd "$(dirname "$0")/../.."

source=/usr/share/pocketsphinx/test/data
if [ ! -d "$source" ]; then
  echo "people.sh: $source is not there: apt install pocketsphinx-testdata" >&2
  exit 2
fi
mkdir -p data/people
# "<s> ten of clubs </s> (001)" -> one JSON object a line.
for folder in cards librivox; do
  cat "$source/$folder"/*transcription |
    sed -nE "s|^<s> *(.*[^ ]) *</s> *\((.*)\) *$|{\"audio_filepath\": \"$source/$folder/\2.wav\", \"transcription\": \"\1\"}|p"
done >data/people/manifest.jsonl
wc -l data/people/manifest.jsonl
