// Vectors that nobody can have computed before the nonce was known.

import { ARRAYS, BadInput, sizeOf } from "./numbers.js";
import { sha256 } from "./sha256.js";

export const SAMPLES = 8;
const NONCE = /^[ -~]{1,200}$/;

/** Refuse a nonce that is not 1 to 200 printable ASCII characters, or where there are no integers to draw. */
export function checkNonce(nonce, manifest = null) {
  if (!NONCE.test(nonce)) throw new BadInput("A nonce is 1 to 200 printable ASCII characters.");
  if (manifest && manifest.network.numbers !== "integer") {
    throw new BadInput("This network is of floats, whose nonce vectors the host could not recompute; leave the nonce out.");
  }
}

/** The nonce's codes of every input, 8 samples: (T, 8, ...) or (8, ...), in the manifest's order. */
export function nonceInputs(nonce, { network, inputs }) {
  return inputs.map((input, number) => {
    const steps = input.time === "sequence" ? network.num_steps : 1;
    const size = sizeOf(input.shape);
    const codes = new ARRAYS[input.dtype](steps * SAMPLES * size);
    const wrap = codes instanceof BigInt64Array || codes instanceof BigUint64Array ? BigInt : (code) => code;
    for (let sample = 0; sample < SAMPLES; sample++) {
      const next = stream(nonce, number, sample);
      for (let step = 0; step < steps; step++) {
        const start = (step * SAMPLES + sample) * size;
        for (let i = 0; i < size; i++) codes[start + i] = wrap(draw(next, input, sample));
      }
    }
    return codes;
  });
}

/** code = low + floor(a (high - low + 1) / 2^32) if b < (sample + 1) 2^29, else zero; exact integers. */
function draw(next, { low, high, zero }, sample) {
  const a = next();
  const b = next();
  if (b >= (sample + 1) * 2 ** 29) return zero;
  const levels = high - low + 1;
  // A product below 2^53 is exact, and so is its division by a power of two.
  return low + (levels <= 2 ** 21 ? Math.floor((a * levels) / 2 ** 32) : Number((BigInt(a) * BigInt(levels)) >> 32n));
}

/** Little-endian uint32, eight to a digest of "qleaky-nonce-1 <nonce> <input> <sample> <block>\n". */
function stream(nonce, input, sample) {
  const encoder = new TextEncoder();
  let block = 0;
  let words;
  let at = 8;
  return () => {
    if (at === 8) {
      const line = encoder.encode(`qleaky-nonce-1 ${nonce} ${input} ${sample} ${block++}\n`);
      words = new DataView(sha256(line).buffer);
      at = 0;
    }
    return words.getUint32(4 * at++, true);
  };
}
