// Answers questions about export/web/validator.js: a JSON list of [name, argument] on stdin, the list of answers on stdout.

import { readFileSync } from "node:fs";
import * as validator from "../../export/web/validator.js";

const bytes = (text) => new Uint8Array(Buffer.from(text, "hex"));
const plain = (values) => Array.from(values, String);

const QUESTIONS = {
  sha256: (pieces) => validator.hex(pieces.reduce((hash, piece) => hash.update(bytes(piece)), new validator.Sha256()).digest()),
  stateDigest: ([layer, kind, step, shape, codes]) =>
    validator.hex(validator.stateDigest(layer, kind, step, shape, Int32Array.from(codes))),
  readNpy: (file) => {
    const { dtype, shape, data } = validator.readNpy(bytes(file), "a.npy");
    return { dtype, shape, data: plain(data) };
  },
  floatBits: (file) => Array.from(validator.floatBits(new Float32Array(bytes(file).buffer))),
  nonceInputs: ([nonce, manifest]) => validator.nonceInputs(nonce, manifest).map(plain),
  readManifest: (text) => validator.readManifest(new TextEncoder().encode(text)) && null,
};

function answer([name, argument]) {
  try {
    return QUESTIONS[name](argument);
  } catch (error) {
    return { refused: error instanceof validator.BadInput, message: error.message };
  }
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(answer)));
