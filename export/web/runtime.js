// onnxruntime-web as it lies in a bundle, the same for workers and node.

/** onnxruntime-web from beside this file; one thread, since others need headers that plain file servers do not send. */
export async function loadRuntime(bundle) {
  const ort = await import("./ort/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = bundle.file("web/ort/ort-wasm-simd-threaded.wasm");
  ort.env.wasm.wasmPaths = { mjs: new URL("./ort/ort-wasm-simd-threaded.mjs", import.meta.url).href };
  return ort;
}
