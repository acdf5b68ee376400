// The check itself, the same in a browser and under node: golden vectors through onnxruntime-web, a verdict and a report.

import { Comparer } from "./comparing.js";
import { SAMPLES, checkNonce, nonceInputs } from "./nonce.js";
import { BadInput, NoVerdict, sizeOf } from "./numbers.js";
import { countNodes, cutInputs, openSession, run } from "./running.js";

export { openBundle } from "./bundle.js";
export { stateDigest } from "./comparing.js";
export { readManifest } from "./manifest.js";
export { checkNonce, nonceInputs } from "./nonce.js";
export { BadInput, floatBits, readNpy, sentence } from "./numbers.js";
export { Sha256, hex, sha256 } from "./sha256.js";

const BATCH = 8;
const BATCH_NUMBERS = 2 ** 22;
const RASTER_ROWS = 96;
const WARM_UPS = 2;
const SINGLES = 16;

/**
 * Run every artefact of an opened bundle and compare.
 *
 * Options: `ort`, onnxruntime-web; `nonce`, or null; `quick`: measure latency for a moment only; `validator`, `device` and
 * `peakMemory()` for the report; `progress({done, total, form, carrier, what})`; `onSample({form, sample, layers})`, the spikes of
 * a sample just run.
 * Returns {verdict, report}.
 */
export async function validate(
  bundle,
  { ort, nonce = null, quick = false, validator, device, peakMemory, progress, onSample },
) {
  const { manifest } = bundle;
  if (nonce !== null) checkNonce(nonce, manifest);
  const size = batchSize(manifest);
  const batches = Math.ceil(manifest.samples / size) + (nonce === null ? 0 : Math.ceil(SAMPLES / size));
  const total = manifest.artefacts.length * (batches + 2);
  let done = 0;
  const step = (what, { form, carrier }) => progress?.({ done: done++, total, form, carrier, what });
  const runs = [];
  for (const [i, artefact] of manifest.artefacts.entries()) {
    done = (i * total) / manifest.artefacts.length;
    runs.push(await checkArtefact({ bundle, artefact, ort, nonce, quick, size, step, onSample }));
  }
  const report = {
    kind: "qleaky-report",
    version: 1,
    validator,
    manifest_sha256: bundle.manifestSha256,
    contract_digest: manifest.network.digest,
    nonce,
    device,
    runs,
    peak_memory_bytes: peakMemory?.() ?? null,
  };
  return { verdict: verdictOf(runs), report };
}

function verdictOf(runs) {
  const found = new Set(runs.map(({ verdict }) => verdict));
  return found.has("differs") ? "differs" : found.has("no verdict") ? "no verdict" : "equal";
}

async function checkArtefact(check) {
  const { bundle, artefact, nonce } = check;
  const { manifest } = bundle;
  const comparer = new Comparer(manifest, manifest.samples, bundle);
  const drawn = nonce === null ? null : new Comparer(manifest, SAMPLES);
  let failure = null;
  let latency = null;
  try {
    const sessions = await openSessions(check);
    await compareAll(check, sessions, comparer, bundle.inputs);
    if (drawn) await compareAll({ ...check, onSample: undefined }, sessions, drawn, nonceInputs(nonce, manifest));
    latency = await measure(check, sessions, comparer);
    await Promise.all(sessions.map((session) => session.release()));
  } catch (error) {
    if (error instanceof BadInput) throw error;
    failure = reasonOf(error, check.ort);
  }
  return finished(check, comparer, drawn, { failure, latency });
}

async function openSessions({ bundle, artefact, ort, step }) {
  step("loading", artefact);
  const shipped = await openSession(ort, bundle.file(artefact.model));
  return [shipped, await openSession(ort, bundle.file(artefact.probe))];
}

async function compareAll({ bundle, artefact, ort, size, step, onSample }, [shipped, twin], comparer, inputs) {
  const { manifest } = bundle;
  for (let first = 0; first < comparer.samples; first += size) {
    const last = Math.min(first + size, comparer.samples);
    step(`samples ${first + 1} to ${last} of ${comparer.samples}`, artefact);
    const values = cutInputs(manifest, inputs, comparer.samples, first, last);
    const batch = last - first;
    const states = await run(ort, twin, artefact, manifest, values, batch);
    comparer.addStates(states, artefact, first, batch);
    const found = await run(ort, shipped, artefact, manifest, values, batch);
    comparer.addOutputs(found, artefact, first, batch, true);
    comparer.addOutputs(states, artefact, first, batch, false);
    comparer.addFinals(found, artefact, first, batch);
    onSample?.({ form: artefact.form, sample: first, layers: rasters(states, artefact, manifest, batch) });
  }
}

/** The shipped file at batch 1, clocked; what it gives for the first samples is compared, too. */
async function measure({ bundle, artefact, ort, quick, step }, [shipped], comparer) {
  step("latency", artefact);
  const { manifest } = bundle;
  const inferences = [];
  const steps = [];
  const singles = Math.min(SINGLES, manifest.samples);
  const began = performance.now();
  const done = () => quick || enough(inferences.length, performance.now() - began);
  for (let i = 0; i < Math.max(singles, WARM_UPS + 1) || !done(); i++) {
    const sample = i % manifest.samples;
    const values = cutInputs(manifest, bundle.inputs, manifest.samples, sample, sample + 1);
    const taken = [];
    const start = performance.now();
    const found = await run(ort, shipped, artefact, manifest, values, 1, (ms) => taken.push(ms));
    const whole = performance.now() - start;
    if (i < singles) comparer.addOutputs(found, artefact, sample, 1, false);
    if (i < WARM_UPS) continue;
    inferences.push(taken.length ? taken.reduce((sum, ms) => sum + ms) : whole);
    steps.push(...taken);
  }
  return { inference: statistics(inferences), step: steps.length ? statistics(steps) : null };
}

function enough(runs, elapsed) {
  return runs >= 200 || (runs >= 5 && elapsed > (runs < 50 ? 3000 : 1000));
}

/** Nearest ranks, in milliseconds: values that were measured, none in between. */
function statistics(times) {
  const sorted = Float64Array.from(times).sort();
  const rank = (percent) => Math.round(sorted[Math.ceil((sorted.length * percent) / 100) - 1] * 1e6) / 1e6;
  return { median: rank(50), p99: rank(99), runs: sorted.length };
}

function reasonOf(error, ort) {
  const text = String(error?.message ?? error)
    .split("\n")[0]
    .slice(0, 300)
    .replace(/[^ -~]/g, "?");
  return error instanceof NoVerdict ? text : `onnxruntime-web ${ort.env.versions.web} could not run it: ${text}`;
}

function finished({ bundle, artefact }, comparer, drawn, { failure, latency }) {
  const { manifest } = bundle;
  const report = {
    form: artefact.form,
    carrier: artefact.carrier,
    model_sha256: manifest.files[artefact.model].sha256,
    probe_sha256: manifest.files[artefact.probe].sha256,
    provider: "wasm",
    assigned: {},
    verdict: "no verdict",
    reason: failure ?? "",
    samples: manifest.samples,
    numbers_compared: 0,
    tensors_differing: 0,
    first_divergence: null,
    step_digests: [],
    output_digests: {},
    nonce: null,
    latency_ms: null,
  };
  if (failure === null) {
    return { ...report, ...judged(bundle.file(artefact.model), comparer, drawn), latency_ms: latency };
  }
  // What differed before the failure is no less found.
  return comparer.differing ? { ...report, ...differed(comparer) } : report;
}

function differed(comparer) {
  return {
    verdict: "differs",
    numbers_compared: comparer.compared,
    tensors_differing: comparer.differing,
    first_divergence: comparer.first.divergence,
  };
}

function judged(model, comparer, drawn) {
  const differing = comparer.differing + (drawn?.differing ?? 0);
  const parted = drawn?.first ? `with the nonce's vectors the two files part: ${drawn.first.text}` : "";
  return {
    // The WebAssembly build has no other provider: all nodes of the graph are its.
    assigned: { wasm: countNodes(model) },
    verdict: differing ? "differs" : "equal",
    reason: (comparer.first?.text ?? parted).slice(0, 1000),
    numbers_compared: comparer.compared + (drawn?.compared ?? 0),
    tensors_differing: differing,
    first_divergence: comparer.first?.divergence ?? null,
    step_digests: comparer.stepDigests(),
    output_digests: comparer.outputDigests(),
    nonce: drawn && { samples: SAMPLES, step_digests: drawn.stepDigests(), output_digests: drawn.outputDigests() },
  };
}

function batchSize({ network, inputs, outputs, states }) {
  const one = [...inputs, ...outputs, ...states].reduce((sum, { shape }) => sum + sizeOf(shape), 0) * network.num_steps;
  return Math.max(1, Math.min(BATCH, Math.floor(BATCH_NUMBERS / one)));
}

/** Spikes of a batch's first sample: a row of steps for each neuron, or for RASTER_ROWS of them at equal distances. */
function rasters(found, artefact, manifest, batch) {
  const steps = manifest.network.num_steps;
  return artefact.probes
    .filter(({ kind }) => kind === "spk")
    .map(({ layer, outputs }) => {
      const size = sizeOf(manifest.states.find((state) => state.layer === layer && state.kind === "spk").shape);
      const rows = Math.min(size, RASTER_ROWS);
      const spikes = new Uint8Array(rows * steps);
      const flat = outputs.flatMap((name) => found.get(name) ?? []);
      for (let t = 0; t < steps; t++) {
        const piece = flat.length === steps ? flat[t] : flat[0];
        const start = flat.length === steps ? 0 : t * batch * size;
        for (let r = 0; r < rows; r++)
          spikes[r * steps + t] = Number(piece?.[start + Math.floor((r * size) / rows)] ?? 0) ? 1 : 0;
      }
      return { layer, neurons: size, rows, steps, spikes };
    });
}
