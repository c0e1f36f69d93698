// Byte-level BPE tokenizers in the layouts of Llama 3 and Whisper, and what Hugging Face's tokenizers
// library makes of awkward text with them.
// usage: node tokenizer_fixtures.mjs NODE_MODULES FIXTURES [FOLDER_OF_A_TOKENIZER_JSON_OF_OURS]
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const [modules, fixtures, ours] = process.argv.slice(2).map((p) => path.resolve(p));
const { Tokenizer } = createRequire(path.join(modules, 'x.js'))('tokenizers');

const texts = [
  'Hello, world! These days are long gone.',
  "I'm sure you've heard: they'll say it's 'fine', she'd've gone, we're 'RE",
  "I'M SURE YOU'VE HEARD, THEY'LL SAY IT'S FINE; DON'T. IT'\u017F",
  'trailing spaces   ', '   leading', 'in   between    words', ' ', '  ', '\t\tindented\n',
  'line\nline\r\nline\n\n\nparagraph\n \n  x', '\n', '\r\n\r\n', ' \n', 'a \n b', 'end.\n\n',
  '1 12 123 1234 12345 1,234.56 3.14e-10 ½ ² ٣٤٥ Ⅻ 一二三', 'v1.2.3-beta4', 'abc123def456',
  'naïve café Ångström ÆØÅ straße ŒUVRE', 'Привет, мир! Как дела?', 'Γειά σου Κόσμε', 'שלום עולם', 'مرحبا بالعالم',
  'नमस्ते दुनिया', 'สวัสดีชาวโลก', '你好，世界！今天天气很好。', 'こんにちは世界。カタカナ', '안녕하세요 세계',
  'emoji: 😀 👩‍👩‍👧‍👦 🇬🇧 👍🏽 ❤️', 'e\u0301 combining a\u0308\u0323', 'zero\u200bwidth\u200djoin\ufeffbom',
  'nbsp\u00a0here\u00a0\u00a0x', 'ideographic\u3000space\u3000 x', 'next\u0085line\u2028sep\u2029para',
  'mongolian\u180evowel \u180e sep', 'unit\u001fsep \u001c\u001d x', 'nul\u0000byte\u0000', 'bell\u0007 \u007f del',
  '$100 €50 £5 ¥1000 #tag @user 50% a_b a-b a/b\\c', '(parentheses) [brackets] {braces} <angles>', '...!!!???---===', '!\n?\r\n ;\n\n',
  ' !x', '_under_score__', 'camelCaseWord XMLHttpRequest', 'if (a[i] != b->c) {\n\treturn x += 1;\n}', '"quoted" ‘curly’ “double”',
  '<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>', 'text <|eot_id|> text', '<|eot_id|><|eot_id|>', '<|eot_id',
  '<|startoftranscript|><|en|><|transcribe|><|notimestamps|> Hello.<|endoftext|>', '<|0.00|> timed<|1.50|>', '<|eot_id|>  two', 'two  <|eot_id|>',
  'a\u2009thin\u202fspaces\u205f', 'x\u180e\n\u180ey', '\u0085\u0085a', '\u000b\u000c v', '\u2060\u00ad soft', "DON'\u017Fx",
  '<|unknown|>', '\u0149 ﬁ ǆ ß ẞ', '\u{1F600}\u{10FFFF}\uE000', '𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛', 'a'.repeat(70), ' '.repeat(40) + 'x', '1'.repeat(20), '',
];

const kUnreachable = ['Ġquixotic', 'zephyr'];
const unseen = ['a quixotic zephyr', 'zephyr quixotic quixotics'];  // not in what the merges are learnt from

const kGpt2 = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
const kLlama3 = { type: 'Sequence', pretokenizers: [
  { type: 'Split', behavior: 'Isolated', invert: false, pattern: { Regex:
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+" } },
  { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }] };

function description(preTokenizer, vocab, merges, added, extra) {
  return { version: '1.0', truncation: null, padding: null, normalizer: null, pre_tokenizer: preTokenizer,
    post_processor: null, decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    added_tokens: added, model: { type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null,
      end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, vocab, merges, ...extra } };
}

// GPT-2's table: printable bytes stand for themselves, the others for U+0100 on, in order.
const kPrintable = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
let nextCharacter = 256;
const kByteCharacters = Array.from({ length: 256 }, (_, b) => String.fromCodePoint(kPrintable(b) ? b : nextCharacter++));

// The most frequent pairs of the texts, as pieces that the library's own pre-tokenizer cuts.
function learnMerges(preTokenizer, count, vocab) {
  const splitter = Tokenizer.fromString(JSON.stringify(description(preTokenizer, vocab, [], [], {}))).getPreTokenizer();
  const words = texts.filter((t) => t).flatMap((t) => splitter.preTokenizeString(t).map(([piece]) => [...piece]));
  const merges = [];
  while (merges.length < count) {
    const pairs = new Map();
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; ++i) {
        const key = word[i] + ' ' + word[i + 1];
        pairs.set(key, (pairs.get(key) ?? 0) + 1);
      }
    }
    const best = [...pairs].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0];
    if (!best) break;
    const [left, right] = best[0].split(' ');
    merges.push([left, right]);
    vocab[left + right] ??= Object.keys(vocab).length;
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; ++i) {
        if (word[i] === left && word[i + 1] === right) word.splice(i, 2, left + right);
      }
    }
  }
  return merges;
}

function build(preTokenizer, count, special, timed, asText, extra) {
  const vocab = Object.fromEntries(kByteCharacters.map((c, i) => [c, i]));
  const merges = learnMerges(preTokenizer, count, vocab);
  if (extra.ignore_merges) {
    // Whole pieces that no merge reaches: only ignore_merges finds them.
    for (const piece of kUnreachable) vocab[piece] = Object.keys(vocab).length;
  }
  let id = Object.keys(vocab).length;
  const token = (content, isSpecial) => ({ id: id++, content, single_word: false, lstrip: false, rstrip: false,
    normalized: false, special: isSpecial });
  const added = [...special.map((t) => token(t, true)), ...timed.map((t) => token(t, false))];
  return description(preTokenizer, vocab, asText ? merges.map((m) => m.join(' ')) : merges, added, extra);
}

async function record(name, file) {
  const folder = path.join(fixtures, name);
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, 'tokenizer.json'), file);
  const tokenizer = Tokenizer.fromString(file);
  const cases = [];
  for (const text of [...texts, ...unseen]) {
    const ids = text ? (await tokenizer.encode(text, null, { addSpecialTokens: false })).getIds() : [];
    const pieces = text ? tokenizer.getPreTokenizer().preTokenizeString(text).map(([piece]) => piece) : [];
    cases.push({ text, pieces, ids, decoded: ids.length ? await tokenizer.decode(ids, false) : '',
      without_special: ids.length ? await tokenizer.decode(ids, true) : '' });
  }
  // Tokens in no order, and characters with a byte missing: what is not UTF-8.
  let state = 12345;
  const draw = (n) => (state = (state * 1103515245 + 12345) % 2147483648, (state >>> 12) % n);
  const lists = [];
  for (let i = 0; i < 40; ++i) {
    lists.push(Array.from({ length: 1 + draw(12) }, () => draw(i < 20 ? 256 : tokenizer.getVocabSize())));
  }
  const bytes = [...Buffer.from('é€😀한\u{10FFFF}z')].map((b) => tokenizer.tokenToId(kByteCharacters[b]));
  for (let i = 0; i < bytes.length; ++i) lists.push(bytes.slice(0, i), bytes.filter((_, at) => at !== i));
  const scrambled = [];
  for (const ids of lists.filter((ids) => ids.length)) {
    scrambled.push({ ids, decoded: await tokenizer.decode(ids, false) });
  }
  fs.writeFileSync(path.join(folder, 'expected.json'), JSON.stringify({ cases, scrambled }, null, 0)
    .replaceAll('},{', '},\n{') + '\n');
  console.log(`${name}: ${cases.length} texts, ${scrambled.length} lists, ${tokenizer.getVocabSize()} tokens`);
}

await record('tokenizer-llama3', JSON.stringify(build(kLlama3, 700,
  ['<|begin_of_text|>', '<|end_of_text|>', '<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>'], [], true,
  { ignore_merges: true })));
await record('tokenizer-whisper', JSON.stringify(build(kGpt2, 700,
  ['<|endoftext|>', '<|startoftranscript|>', '<|en|>', '<|transcribe|>', '<|notimestamps|>'],
  ['<|0.00|>', '<|1.50|>'], false, {})));
if (ours) {
  await record('tokenizer-stand-in', fs.readFileSync(path.join(ours, 'tokenizer.json'), 'utf8'));
}
