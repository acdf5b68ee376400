// What an artefact computed against golden numbers: outputs by element, states by digest, and where they first part.

import { bytesOf, floatBits, int32Codes, outputCodes, plainNumbers, sizeOf } from "./numbers.js";
import { joined, outputOf } from "./running.js";
import { Sha256, hex } from "./sha256.js";

export const MOST_CODES = 4096;
const KINDS = ["syn", "mem", "spk"];
const NAMES = { syn: "synaptic currents", mem: "membranes", spk: "spikes" };

/** SHA-256 of one sample's codes of a layer, kind and step (docs/models.md, "Digests"). */
export function stateDigest(layer, kind, step, shape, codes) {
  const line = new TextEncoder().encode(`qleaky-digest-1 ${layer} ${kind} ${step} ${shape.join()}\n`);
  return new Sha256().update(line).update(bytesOf(codes)).digest();
}

/**
 * Compares batches of one artefact, and keeps what its report says of them.
 *
 * Without `golden` ({outputs, digests}) there is nothing to compare with but the artefact's two files with each other.
 */
export class Comparer {
  constructor(manifest, samples, golden = null) {
    this.manifest = manifest;
    this.samples = samples;
    this.compared = 0;
    this.differing = 0;
    this.first = null;
    const steps = manifest.network.num_steps;
    this.digests = manifest.states.map(() => new Uint8Array(steps * samples * 32));
    this.expectedDigests = golden ? golden.digests : null;
    this.floats = manifest.outputs.map(({ dtype }) => dtype.startsWith("float"));
    this.outputs = manifest.outputs.map(({ over_time, shape }, i) => {
      const size = (over_time ? steps : 1) * samples * sizeOf(shape);
      return this.floats[i] ? new Int32Array(size) : new BigInt64Array(size);
    });
    this.expectedOutputs = golden ? golden.outputs.map((values, i) => outputCodes(values, this.floats[i])) : null;
    const layers = [...new Set(manifest.states.map(({ layer }) => layer))];
    this.rank = ({ layer, kind }) => 3 * layers.indexOf(layer) + KINDS.indexOf(kind);
  }

  /** Every state of every step, as the twin computed it for the samples from `first` on. */
  addStates(found, artefact, first, batch) {
    const { states, network } = this.manifest;
    for (const probe of artefact.probes) {
      const i = states.findIndex(({ layer, kind }) => layer === probe.layer && kind === probe.kind);
      const size = sizeOf(states[i].shape);
      const values = joined(found, probe.outputs, network.num_steps * batch * size);
      for (let step = 0; step < network.num_steps; step++) {
        for (let s = 0; s < batch; s++) {
          const slice = values.subarray((step * batch + s) * size, (step * batch + s + 1) * size);
          const digest = this.digestOf(states[i], step, slice, probe.offset);
          const at = (step * this.samples + first + s) * 32;
          this.digests[i].set(digest, at);
          const expected = this.expectedDigests?.[i].subarray(at, at + 32) ?? digest;
          const { layer, kind, offset } = probe;
          this.count(size, same(digest, expected), [0, step, this.rank(probe), first + s], { layer, kind, offset, slice });
        }
      }
    }
  }

  /** The states after the last step that the shipped file itself gives. */
  addFinals(found, artefact, first, batch) {
    const { states, network } = this.manifest;
    const step = network.num_steps - 1;
    for (const final of artefact.final_states) {
      const i = states.findIndex(({ layer, kind }) => layer === final.layer && kind === final.kind);
      const size = sizeOf(states[i].shape);
      const values = outputOf(found, artefact, final.output, false, batch * size);
      for (let s = 0; s < batch; s++) {
        const slice = values.subarray(s * size, (s + 1) * size);
        const at = (step * this.samples + first + s) * 32;
        const expected = (this.expectedDigests ?? this.digests)[i].subarray(at, at + 32);
        const equal = same(this.digestOf(states[i], step, slice, 0), expected);
        this.count(size, equal, [2, step, this.rank(final), first + s], { ...final, slice });
      }
    }
  }

  /** Named outputs; those of the shipped file (`keep`) are what the report's digests are of. */
  addOutputs(found, artefact, first, batch, keep) {
    this.manifest.outputs.forEach(({ name, shape, over_time }, i) => {
      const size = sizeOf(shape);
      const steps = over_time ? this.manifest.network.num_steps : 1;
      const values = outputOf(found, artefact, name, over_time, steps * batch * size);
      for (let step = 0; step < steps; step++) {
        for (let s = 0; s < batch; s++) {
          const slice = values.subarray((step * batch + s) * size, (step * batch + s + 1) * size);
          const codes = outputCodes(slice, this.floats[i]);
          const at = (step * this.samples + first + s) * size;
          if (keep && codes) this.outputs[i].set(codes, at);
          const expected = (this.expectedOutputs ?? this.outputs)[i].subarray(at, at + size);
          const equal = codes !== null && codes.every((code, e) => code === expected[e]);
          this.count(size, equal, [1, step, i, first + s], { layer: name, kind: "out", slice, expected });
        }
      }
    });
  }

  digestOf({ layer, kind, shape }, step, slice, offset) {
    // What is no code has a digest that no codes have: of more bytes than they are.
    const codes = int32Codes(slice, this.manifest.network.numbers, offset) ?? new Float64Array([...slice, NaN].map(Number));
    return stateDigest(layer, kind, step, shape, codes);
  }

  count(size, equal, place, found) {
    this.compared += size;
    if (equal) return;
    this.differing++;
    if (this.first && !before(place, this.first.place)) return;
    const { layer, kind, slice } = found;
    const [, step, , sample] = place;
    const got = this.shown(slice, found.offset ?? 0);
    const truncated = slice.length > MOST_CODES;
    this.first = { place, divergence: { layer, kind, step, sample, got, truncated }, text: describe(found, step, sample) };
  }

  shown(slice, offset) {
    const bits = this.manifest.network.numbers === "float32" && slice instanceof Float32Array;
    return bits ? Array.from(floatBits(slice.subarray(0, MOST_CODES))) : plainNumbers(slice, offset, MOST_CODES);
  }

  /** [{layer, kind, steps: [hex of each step]}]: SHA-256 over the samples' digests in order. */
  stepDigests() {
    const { states, network } = this.manifest;
    const row = this.samples * 32;
    return states.map(({ layer, kind }, i) => ({
      layer,
      kind,
      steps: Array.from({ length: network.num_steps }, (_, t) =>
        hex(new Sha256().update(this.digests[i].subarray(t * row, (t + 1) * row)).digest()),
      ),
    }));
  }

  /** {name: SHA-256 of the shipped file's output, as int64 in C order, or as the bits of float32}. */
  outputDigests() {
    const entries = this.manifest.outputs.map(({ name }, i) => [
      name,
      hex(new Sha256().update(bytesOf(this.outputs[i])).digest()),
    ]);
    return Object.fromEntries(entries);
  }
}

function same(digest, expected) {
  return digest.every((byte, i) => byte === expected[i]);
}

function before(place, other) {
  const i = place.findIndex((value, k) => value !== other[k]);
  return i >= 0 && place[i] < other[i];
}

function describe({ layer, kind, output, slice, expected }, step, sample) {
  if (kind !== "out") {
    const file = output ? `, output ${output} of the shipped file` : "";
    return `layer ${layer}, step ${step}, sample ${sample}${file}: ${NAMES[kind]} differ`;
  }
  const element = Array.from(slice).findIndex((value, e) => Number(value) !== Number(expected[e]));
  if (element < 0 || slice instanceof Float32Array) return `output ${layer}, step ${step}, sample ${sample}: differs`;
  const numbers = `${expected[element]} expected, ${slice[element]} found`;
  return `output ${layer}, step ${step}, sample ${sample}, element ${element}: ${numbers}`;
}
