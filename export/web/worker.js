// The check in a worker, so that the page stays alive: messages {type} go to page.js.

import { loadRuntime } from "./runtime.js";
import { BadInput, checkNonce, openBundle, sentence, validate } from "./validator.js";

/** A bundle's file from the page's own server. */
async function read(name, most) {
  const response = await fetch(new URL(`../${name}`, import.meta.url), { cache: "no-store", redirect: "error" }).catch(
    () => null,
  );
  if (!response?.ok) throw new BadInput(`${name} is missing: the server answers ${response ? response.status : "nothing"}.`);
  const reader = response.body.getReader();
  const pieces = [];
  let size = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    size += part.value.length;
    if (size > most) {
      await reader.cancel();
      throw new BadInput(`${name} has more than the ${most} bytes it may have.`);
    }
    pieces.push(part.value);
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

function device(ort) {
  return {
    machine: navigator.platform || "unknown",
    system: navigator.userAgentData?.platform || navigator.platform || "unknown",
    processor: `${navigator.hardwareConcurrency ?? "unknown"} logical cores, 1 used`,
    browser: navigator.userAgent,
    runtime: `onnxruntime-web ${ort.env.versions.web}`,
    clock: `${clockStep().toLocaleString("en", { maximumSignificantDigits: 2 })} ms`,
  };
}

/** Milliseconds between two readings of the clock that differ; browsers keep it coarse. */
function clockStep() {
  let least = Infinity;
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    let now = start;
    while (now === start) now = performance.now();
    least = Math.min(least, now - start);
  }
  return least;
}

async function check(nonce) {
  if (nonce !== null) checkNonce(nonce);
  const bundle = await openBundle(read, (done, total) => postMessage({ type: "files", done, total }));
  postMessage({ type: "manifest", manifest: bundle.manifest });
  const ort = await loadRuntime(bundle);
  const found = await validate(bundle, {
    ort,
    nonce,
    validator: "validate.html",
    device: device(ort),
    progress: (step) => postMessage({ type: "progress", ...step }),
    onSample: (sample) => postMessage({ type: "sample", ...sample }),
  });
  postMessage({ type: "verdict", ...found });
}

onmessage = async ({ data }) => {
  try {
    await check(data.nonce);
  } catch (error) {
    postMessage({ type: "refused", message: sentence(error) });
  }
};
