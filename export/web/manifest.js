// manifest.json of a bundle, checked as what it is: a stranger's file.

import { ARRAYS, BadInput, sizeOf } from "./numbers.js";

export const VERSION = 1;
const MAX_MANIFEST = 64 << 20;
const MAX_FILE = 2 ** 31 - 1;
const MAX_TOTAL = 2 ** 32;
const MAX_FILES = 4096;
const MAX_STEPS = 1_000_000;
const MAX_SAMPLES = 4096;
const MAX_ARTEFACTS = 16;
const MAX_NUMBERS = 2 ** 27;

const PATH = /^[A-Za-z0-9_][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_][A-Za-z0-9._-]*){0,7}$/;
const HEX = /^[0-9a-f]{64}$/;
const ASCII = /^[ -~]+$/;
// Control characters, ends of lines, and what turns the direction of text around.
const CONTROL = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;
const KINDS = ["syn", "mem", "spk"];
const FORMS = ["unrolled", "scan", "step"];

/** The manifest in some bytes. Throws BadInput: what is wrong, where, in one sentence. */
export function readManifest(bytes) {
  if (bytes.length > MAX_MANIFEST) throw new BadInput(`manifest.json has more than ${MAX_MANIFEST} bytes.`);
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new BadInput("manifest.json is no JSON text in UTF-8, or is damaged.");
  }
  checkHead(object(manifest, "the manifest"));
  checkFiles(manifest.files);
  checkNetwork(object(manifest.network, "network"));
  count(manifest.samples, "samples", MAX_SAMPLES);
  each(manifest.inputs, "inputs", 1, (input, where) => checkInput(manifest, input, where));
  each(manifest.outputs, "outputs", 1, (output, where) => checkOutput(manifest, output, where));
  each(manifest.states, "states", 1, (state, where) => checkState(manifest, state, where));
  unique(manifest.states, "states");
  each(manifest.vectors, "vectors", 0, (group, where) => checkGroup(manifest, group, where));
  each(manifest.artefacts, "artefacts", 1, (artefact, where) => checkArtefact(manifest, artefact, where));
  if (manifest.artefacts.length > MAX_ARTEFACTS) throw wrong("artefacts", `lists more than ${MAX_ARTEFACTS}`);
  checkUses(manifest);
  checkSizes(manifest);
  return manifest;
}

function checkHead(manifest) {
  if (manifest.kind !== "qleaky-bundle") throw wrong("kind", 'is not "qleaky-bundle"');
  count(manifest.version, "version", Number.MAX_SAFE_INTEGER);
  if (manifest.version > VERSION) {
    throw new BadInput(
      `This bundle has version ${manifest.version}, made by a later qleaky; its validator reads up to ${VERSION}. Make it again.`,
    );
  }
  text(manifest.created_by, "created_by");
}

function checkFiles(files) {
  const entries = Object.entries(object(files, "files"));
  if (entries.length > MAX_FILES) throw wrong("files", `lists ${entries.length} files, more than ${MAX_FILES}`);
  for (const [name, file] of entries) {
    if (name.length > 200 || !PATH.test(name) || name === "manifest.json") {
      throw new BadInput(`manifest.json: files lists ${quoted(name)}, which is no name that a bundle's file may have.`);
    }
    hash(object(file, `files, ${name}`).sha256, `files, ${name}: sha256`);
    count(file.bytes, `files, ${name}: bytes`, MAX_FILE, 0);
  }
  const total = entries.reduce((sum, [, { bytes }]) => sum + bytes, 0);
  if (total > MAX_TOTAL) throw wrong("files", `declares ${total} bytes, more than ${MAX_TOTAL}`);
}

// A file that stood for many would be read into memory for each.
function checkUses({ inputs, outputs, states, artefacts }) {
  const golden = [...inputs, ...outputs].map((entry) => entry.golden);
  const used = [...golden, ...states.map(({ digests }) => digests), ...artefacts.flatMap(({ model, probe }) => [model, probe])];
  const twice = used.find((name, i) => used.indexOf(name) < i);
  if (twice !== undefined) throw new BadInput(`manifest.json uses ${quoted(twice)} twice.`);
}

function checkNetwork(network) {
  hash(network.digest, "network.digest");
  choice(network.numbers, "network.numbers", ["integer", "float32"]);
  count(network.num_steps, "network.num_steps", MAX_STEPS);
  if (typeof network.proved !== "boolean") throw wrong("network.proved", "is neither true nor false");
  each(network.reasons, "network.reasons", 0, (reason, where) => {
    if (typeof reason !== "string") throw wrong(where, "is no text");
  });
}

function checkInput(manifest, input, where) {
  text(input.name, `${where}.name`);
  choice(input.dtype, `${where}.dtype`, Object.keys(ARRAYS));
  shape(input.shape, `${where}.shape`);
  choice(input.time, `${where}.time`, ["sequence", "static"]);
  listed(manifest, input.golden, `${where}.golden`);
  if (manifest.network.numbers !== "integer") return;
  for (const bound of ["low", "high", "zero"]) {
    if (!Number.isSafeInteger(input[bound]) || Math.abs(input[bound]) >= 2 ** 32) {
      throw wrong(`${where}.${bound}`, "is no integer of 32 bits");
    }
  }
  if (input.low > input.zero || input.zero > input.high) throw wrong(`${where}`, "does not have low <= zero <= high");
}

function checkOutput(manifest, output, where) {
  text(output.name, `${where}.name`);
  choice(output.dtype, `${where}.dtype`, Object.keys(ARRAYS));
  shape(output.shape, `${where}.shape`);
  if (typeof output.over_time !== "boolean") throw wrong(`${where}.over_time`, "is neither true nor false");
  listed(manifest, output.golden, `${where}.golden`);
}

function checkState(manifest, state, where) {
  text(state.layer, `${where}.layer`);
  if (!ASCII.test(state.layer)) throw wrong(`${where}.layer`, "is not printable ASCII, which digests are made of");
  choice(state.kind, `${where}.kind`, KINDS);
  shape(state.shape, `${where}.shape`);
  listed(manifest, state.digests, `${where}.digests`);
}

function checkGroup(manifest, group, where) {
  text(group.name, `${where}.name`);
  count(group.first, `${where}.first`, manifest.samples, 0);
  count(group.count, `${where}.count`, manifest.samples - group.first, 0);
}

function checkArtefact(manifest, artefact, where) {
  choice(artefact.form, `${where}.form`, FORMS);
  text(artefact.carrier, `${where}.carrier`);
  listed(manifest, artefact.model, `${where}.model`);
  listed(manifest, artefact.probe, `${where}.probe`);
  each(artefact.probes, `${where}.probes`, 1, (probe, place) => checkProbe(manifest, probe, place));
  each(artefact.final_states, `${where}.final_states`, 0, (final, place) => {
    text(final.output, `${place}.output`);
    known(manifest, final, place);
  });
  unique(artefact.probes, `${where}.probes`);
  if (artefact.probes.length !== manifest.states.length) throw wrong(`${where}.probes`, "is not one for each of states");
  if ((artefact.form === "step") !== Array.isArray(artefact.steps)) {
    throw wrong(`${where}.steps`, 'is not what the form has: a list for "step", null for others');
  }
  each(artefact.steps ?? [], `${where}.steps`, 0, (step, place) => {
    text(step.input, `${place}.input`);
    text(step.output, `${place}.output`);
    choice(step.dtype, `${place}.dtype`, Object.keys(ARRAYS));
    shape(step.shape, `${place}.shape`);
  });
}

function checkProbe(manifest, probe, where) {
  known(manifest, probe, where);
  each(probe.outputs, `${where}.outputs`, 1, (name, place) => text(name, place));
  if (![1, manifest.network.num_steps].includes(probe.outputs.length)) {
    throw wrong(`${where}.outputs`, "is neither one output nor one a step");
  }
  if (!Number.isSafeInteger(probe.offset) || Math.abs(probe.offset) >= 2 ** 31) throw wrong(`${where}.offset`, "is no int32");
}

// Shapes are believed only as far as files of golden numbers bear them out; states have digests alone, hence a limit.
function checkSizes({ network, inputs, outputs, states }) {
  const numbers = [...inputs, ...outputs, ...states].reduce((sum, { shape }) => sum + sizeOf(shape), 0) * network.num_steps;
  if (numbers > MAX_NUMBERS) {
    throw new BadInput(
      `manifest.json declares ${numbers} numbers a sample, more than the ${MAX_NUMBERS} that are checked here.`,
    );
  }
}

function known(manifest, place, where) {
  choice(place.kind, `${where}.kind`, KINDS);
  if (!manifest.states.some(({ layer, kind }) => layer === place.layer && kind === place.kind)) {
    throw wrong(where, `names ${quoted(place.layer)}, ${place.kind}, which is not among states`);
  }
}

function unique(places, where) {
  if (new Set(places.map(({ layer, kind }) => `${kind} ${layer}`)).size < places.length) throw wrong(where, "names one twice");
}

function listed(manifest, name, where) {
  if (typeof name !== "string" || !Object.hasOwn(manifest.files, name)) {
    throw wrong(where, `names ${quoted(name)}, which is not among files`);
  }
}

function each(list, where, least, check) {
  if (!Array.isArray(list) || list.length < least || list.length > MAX_STEPS) {
    throw wrong(where, `is no list of at least ${least}`);
  }
  list.forEach((item, i) => {
    if (item === null || item === undefined) throw wrong(`${where}[${i}]`, "is null");
    check(item, `${where}[${i}]`);
  });
}

function shape(value, where) {
  const sound = (size) => Number.isSafeInteger(size) && size > 0 && size <= MAX_NUMBERS;
  if (!Array.isArray(value) || value.length > 8 || !value.every(sound) || sizeOf(value) > MAX_NUMBERS) {
    throw wrong(where, `is no list of up to 8 lengths of at most ${MAX_NUMBERS} numbers`);
  }
}

function object(value, where) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(where, "is no object");
  return value;
}

function text(value, where, most = 4096) {
  if (typeof value !== "string" || !value || value.length > most || CONTROL.test(value)) {
    throw wrong(where, `is no text of 1 to ${most} characters without control characters`);
  }
}

function hash(value, where) {
  if (typeof value !== "string" || !HEX.test(value)) throw wrong(where, "is no SHA-256 in hexadecimal digits");
}

function count(value, where, most, least = 1) {
  if (!Number.isSafeInteger(value) || value < least || value > most)
    throw wrong(where, `is no integer from ${least} to ${most}`);
}

function choice(value, where, values) {
  if (!values.includes(value)) throw wrong(where, `is none of ${values.join(", ")}`);
}

function wrong(where, what) {
  return new BadInput(`manifest.json: ${where} ${what}.`);
}

/** A stranger's value as it can be shown: text in quotes, escaped, cut; of others the type. */
export function quoted(value) {
  if (typeof value !== "string") return `what is no text, but ${value === null ? "null" : typeof value}`;
  return JSON.stringify(value.slice(0, 100)).replace(/[^ -~]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}
