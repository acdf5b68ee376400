// Running an artefact through onnxruntime-web: whole sequences, and the step form step by step.

import { ARRAYS, NoVerdict, sizeOf } from "./numbers.js";

/** A session of a model's bytes. Throws what the runtime throws. */
export async function openSession(ort, bytes) {
  return ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], logSeverityLevel: 3 });
}

/** Inputs of the samples first to last - 1, cut out of (T, B, ...) or (B, ...). */
export function cutInputs({ network, inputs }, values, samples, first, last) {
  return inputs.map((input, i) => {
    const size = sizeOf(input.shape);
    const steps = input.time === "sequence" ? network.num_steps : 1;
    const cut = new ARRAYS[input.dtype](steps * (last - first) * size);
    for (let t = 0; t < steps; t++) {
      cut.set(values[i].subarray((t * samples + first) * size, (t * samples + last) * size), t * (last - first) * size);
    }
    return cut;
  });
}

/**
 * Runs an artefact's session on a batch: all outputs by name, each the list of its pieces in the order of time.
 *
 * The step form starts from states of zero; every output has a piece for each step, and `onStep(ms)` hears how long each took.
 */
export async function run(ort, session, artefact, manifest, values, batch, onStep = () => {}) {
  if (artefact.form === "step") return runSteps(ort, session, artefact, manifest, values, batch, onStep);
  const feeds = feed(ort, manifest, values, (input) =>
    input.time === "sequence" ? [manifest.network.num_steps, batch] : [batch],
  );
  return pieces([await session.run(feeds)]);
}

async function runSteps(ort, session, artefact, manifest, values, batch, onStep) {
  const steps = [];
  const states = Object.create(null);
  for (const { input, dtype, shape } of artefact.steps) {
    const dims = [batch, ...shape];
    states[input] = new ort.Tensor(dtype, new ARRAYS[dtype](sizeOf(dims)), dims);
  }
  for (let t = 0; t < manifest.network.num_steps; t++) {
    const now = values.map((data, i) => {
      const size = batch * sizeOf(manifest.inputs[i].shape);
      return manifest.inputs[i].time === "sequence" ? data.slice(t * size, (t + 1) * size) : data;
    });
    const feeds = Object.assign(
      feed(ort, manifest, now, () => [batch]),
      states,
    );
    const start = performance.now();
    const found = await session.run(feeds);
    onStep(performance.now() - start);
    for (const { input, output } of artefact.steps) {
      if (!Object.hasOwn(found, output)) throw new NoVerdict(`the graph has no output ${output}, a next state`);
      states[input] = found[output];
    }
    steps.push(found);
  }
  return pieces(steps);
}

function feed(ort, manifest, values, lead) {
  const feeds = Object.create(null);
  manifest.inputs.forEach((input, i) => {
    feeds[input.name] = new ort.Tensor(input.dtype, values[i], [...lead(input), ...input.shape]);
  });
  return feeds;
}

function pieces(steps) {
  const found = new Map();
  for (const step of steps) {
    for (const [name, tensor] of Object.entries(step)) {
      if (!found.has(name)) found.set(name, []);
      found.get(name).push(tensor.data);
    }
  }
  return found;
}

/** The numbers of some outputs one after another, `size` in all. Throws NoVerdict where there are others. */
export function joined(found, names, size) {
  const parts = names.flatMap((name) => found.get(name) ?? []);
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (length !== size || parts.some((part) => part.constructor !== parts[0].constructor)) {
    throw new NoVerdict(`the graph gives ${length} numbers in ${names[0]}, not ${size}`);
  }
  if (parts.length === 1) return parts[0];
  const whole = new parts[0].constructor(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** An output's numbers of a whole run: of all steps, or of the last. */
export function outputOf(found, { form }, name, overTime, size) {
  const last = form === "step" && !overTime && found.has(name) ? new Map([[name, found.get(name).slice(-1)]]) : found;
  return joined(last, [name], size);
}

/** How many nodes the graph of an ONNX file has: field 1 of field 7 of the protocol buffer. */
export function countNodes(bytes) {
  let nodes = 0;
  for (const graph of fields(bytes, 7)) for (const _ of fields(graph, 1)) nodes++;
  return nodes;
}

function* fields(bytes, wanted) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; at < bytes.length; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) break;
    }
    return value;
  };
  while (at < bytes.length) {
    const key = varint();
    const type = key % 8;
    const length = type === 2 ? varint() : type === 1 ? 8 : type === 5 ? 4 : 0;
    if (type === 0) varint();
    else if (type === 2 && Math.floor(key / 8) === wanted) yield bytes.subarray(at, at + length);
    at += length;
  }
}
