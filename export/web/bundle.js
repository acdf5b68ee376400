// A bundle's files, each checked against the manifest before any of them is used.

import { readManifest } from "./manifest.js";
import { BadInput, readNpy } from "./numbers.js";
import { hex, sha256 } from "./sha256.js";

/**
 * Read and check a whole bundle.
 *
 * `read(name, most)` gives a file's bytes (at most `most`, or throws BadInput); `progress(done, total, name)` follows.
 * Returns {manifest, manifestSha256, file(name), inputs, outputs, digests}: golden numbers in the manifest's order.
 */
export async function openBundle(read, progress = () => {}) {
  const bytes = await read("manifest.json", 64 << 20);
  const manifest = readManifest(bytes);
  const needed = new Set(neededFiles(manifest));
  const files = new Map();
  const entries = Object.entries(manifest.files);
  for (const [i, [name, { sha256: wanted, bytes: size }]] of entries.entries()) {
    progress(i, entries.length, name);
    const data = await read(name, size);
    if (data.length !== size) throw new BadInput(`${name} has ${data.length} bytes; the manifest says ${size}.`);
    if (hex(sha256(data)) !== wanted)
      throw new BadInput(`${name} is not the file that the manifest lists: its SHA-256 differs.`);
    if (needed.has(name)) files.set(name, data);
  }
  return { manifest, manifestSha256: hex(sha256(bytes)), file: (name) => files.get(name), ...golden(manifest, files) };
}

function neededFiles({ artefacts, inputs, outputs, states }) {
  return [
    ...artefacts.flatMap(({ model, probe }) => [model, probe]),
    ...[...inputs, ...outputs].map(({ golden }) => golden),
    ...states.map(({ digests }) => digests),
    "web/ort/ort-wasm-simd-threaded.wasm",
  ];
}

function golden({ network, samples, inputs, outputs, states }, files) {
  const load = (name, dtype, shape) => {
    const found = readNpy(files.get(name), name);
    if (found.dtype !== dtype || found.shape.join() !== shape.join()) {
      throw new BadInput(
        `${name} holds ${found.dtype} (${found.shape.join(", ")}); the manifest asks ${dtype} (${shape.join(", ")}).`,
      );
    }
    return found.data;
  };
  const lead = (moving) => (moving ? [network.num_steps, samples] : [samples]);
  return {
    inputs: inputs.map((i) => load(i.golden, i.dtype, [...lead(i.time === "sequence"), ...i.shape])),
    outputs: outputs.map((o) => load(o.golden, o.dtype, [...lead(o.over_time), ...o.shape])),
    digests: states.map((s) => load(s.digests, "uint8", [network.num_steps, samples, 32])),
  };
}
