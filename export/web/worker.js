// The check in a worker, so that the page stays alive: messages {type} go to page.js.

import { BadInput, checkNonce, openBundle, validate } from "./validator.js";

/** A bundle's file from the page's own server. */
async function read(name, most) {
  const response = await fetch(new URL(`../${name}`, import.meta.url), { cache: "no-store", redirect: "error" }).catch(() => null);
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

/** onnxruntime-web from beside this file; one thread, since others need headers that plain file servers do not send. */
async function loadRuntime(bundle) {
  const ort = await import("./ort/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = bundle.file("web/ort/ort-wasm-simd-threaded.wasm");
  ort.env.wasm.wasmPaths = { mjs: new URL("./ort/ort-wasm-simd-threaded.mjs", import.meta.url).href };
  return ort;
}

function device(ort) {
  return {
    machine: navigator.platform || "unknown",
    system: navigator.userAgentData?.platform || navigator.platform || "unknown",
    processor: `${navigator.hardwareConcurrency ?? "unknown"} logical cores, 1 used`,
    browser: navigator.userAgent,
    runtime: `onnxruntime-web ${ort.env.versions.web}`,
  };
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
    const bad = error instanceof BadInput;
    postMessage({ type: "refused", message: bad ? error.message : `The check ended early: ${String(error?.message ?? error).slice(0, 300)}` });
  }
};
