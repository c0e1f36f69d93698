// Log-mel energies by transformers.js, of the sounds that speech_fixtures.py has written.
// usage: node log_mel_fixtures.mjs NODE_MODULES FIXTURES
import fs from 'node:fs';
import path from 'node:path';

const [modules, fixtures] = process.argv.slice(2).map((p) => path.resolve(p));
const audio = await import(path.join(modules, '@xenova/transformers/src/utils/audio.js'));
const folder = path.join(fixtures, 'log-mel');
const kFrames = 100;

function readTensors(file) {
  const bytes = fs.readFileSync(file);
  const size = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.subarray(8, 8 + size));
  return (name) => {
    const [begin, end] = header[name].data_offsets.map((offset) => 8 + size + offset);
    return new Float32Array(bytes.buffer.slice(bytes.byteOffset + begin, bytes.byteOffset + end));
  };
}

function writeTensors(file, tensors) {
  const header = {};
  let at = 0;
  for (const [name, { data, shape }] of Object.entries(tensors)) {
    header[name] = { dtype: 'F32', shape, data_offsets: [at, at + data.byteLength] };
    at += data.byteLength;
  }
  let text = JSON.stringify(header);
  text += ' '.repeat((8 - (text.length % 8)) % 8);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  const blobs = Object.values(tensors).map(({ data }) => Buffer.from(data.buffer));
  fs.writeFileSync(file, Buffer.concat([size, Buffer.from(text), ...blobs]));
}

// What WhisperFeatureExtractor does with one window of audio.
function logMel(samples, bins) {
  const waveform = new Float32Array(kFrames * 160);
  waveform.set(samples.subarray(0, waveform.length));
  const filters = audio.mel_filter_bank(201, bins, 0, 8000, 16000, 'slaney', 'slaney');
  const { data } = audio.spectrogram(waveform, audio.window_function(400, 'hann'), 400, 160, {
    power: 2.0, mel_filters: filters, log_mel: 'log10', max_num_frames: kFrames });
  const top = data.reduce((a, b) => Math.max(a, b), -Infinity);
  return { data: data.map((x) => (Math.max(x, top - 8) + 4) / 4), shape: [bins, kFrames] };
}

const read = readTensors(path.join(folder, 'expected.safetensors'));
const tensors = {};
for (const bins of [80, 128]) {
  for (const name of ['short', 'long']) {
    const key = `${name}-${bins}`;
    tensors[key] = logMel(read(name), bins);
    const numpy = read(key);
    const worst = tensors[key].data.reduce((a, x, i) => Math.max(a, Math.abs(x - numpy[i])), 0);
    console.log(`log-mel ${key}: transformers.js against numpy ${worst.toExponential(2)}`);
  }
}
writeTensors(path.join(folder, 'transformers_js.safetensors'), tensors);
