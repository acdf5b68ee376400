// Runs ONNX models in onnxruntime-web (WASM) under node, for a program that speaks to it:
//
//     node run_model.mjs FOLDER_OF_THE_PACKAGE_ONNXRUNTIME-WEB
//
// Messages go through stdin and stdout, each the length of a header (uint32, little endian), the header (JSON, UTF-8), and as many
// bytes as the header's "bytes" says. Every request gets one answer, in order. Tensors are raw, little endian, in C order, one after
// the other; their types are ONNX Runtime's names ("int8", "bool", "int64", "float32", ...), and a bool is one byte.
//
//     {"command": "load", "optimize": false, "bytes": N}   the model's bytes      -> {"model": 0, "version": "1.30.0", "bytes": 0}
//     {"command": "run", "model": 0, "tensors": [{"name", "type", "shape", "bytes"}, ...], "bytes": N}
//                                                          -> {"tensors": [{"name", "type", "shape", "bytes"}, ...], "bytes": N}
//     {"command": "release", "model": 0, "bytes": 0}       -> {"bytes": 0}
//
// What fails is answered by {"error": "...", "bytes": 0}. The process ends when stdin does.

import path from "node:path";
import { pathToFileURL } from "node:url";

const ARRAYS = {
  bool: Uint8Array, uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array, uint32: Uint32Array,
  int32: Int32Array, uint64: BigUint64Array, int64: BigInt64Array, float32: Float32Array, float64: Float64Array,
};

/** Messages of a stream: headers with their bytes in `data`. */
async function* messages(stream) {
  let pieces = [], size = 0;
  const iterator = stream[Symbol.asyncIterator]();
  const take = async (count) => {
    while (size < count) {
      const { value, done } = await iterator.next();
      if (done) return null;
      pieces.push(value);
      size += value.length;
    }
    const all = pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
    pieces = [all.subarray(count)];
    size -= count;
    return all.subarray(0, count);
  };
  for (;;) {
    const length = await take(4);
    const header = length && (await take(length.readUInt32LE(0)));
    if (!header) return;
    const message = JSON.parse(header.toString("utf8"));
    message.data = await take(message.bytes);
    if (message.data === null) return;
    yield message;
  }
}

function answer(header, pieces) {
  const buffers = pieces.map((array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength));
  const bytes = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
  const text = Buffer.from(JSON.stringify({ ...header, bytes }), "utf8");
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  process.stdout.write(Buffer.concat([length, text, ...buffers]));
}

class Models {
  constructor(ort) {
    this.ort = ort;
    this.sessions = new Map();
    this.next = 0;
  }

  async load({ data, optimize }) {
    const options = { executionProviders: ["wasm"], graphOptimizationLevel: optimize ? "all" : "disabled", logSeverityLevel: 3 };
    this.sessions.set(this.next, await this.ort.InferenceSession.create(new Uint8Array(data), options));
    return [{ model: this.next++, version: this.ort.env.versions.web ?? this.ort.env.versions.common }, []];
  }

  async run({ model, tensors, data }) {
    const feeds = {};
    let start = 0;
    for (const { name, type, shape, bytes } of tensors) {
      const copy = new Uint8Array(data.subarray(start, start + bytes)).buffer; // a typed array must start at a multiple of its size
      feeds[name] = new this.ort.Tensor(type, new ARRAYS[type](copy), shape);
      start += bytes;
    }
    const found = Object.entries(await this.sessions.get(model).run(feeds));
    const headers = found.map(([name, { type, dims, data }]) => ({ name, type, shape: dims, bytes: data.byteLength }));
    return [{ tensors: headers }, found.map(([, { data }]) => data)];
  }

  async release({ model }) {
    await this.sessions.get(model)?.release();
    this.sessions.delete(model);
    return [{}, []];
  }
}

console.log = console.info = console.debug = console.error; // stdout is the answers' alone
const ort = await import(pathToFileURL(path.join(process.argv[2], "dist", "ort.wasm.min.mjs")));
ort.env.wasm.numThreads = 1;
const models = new Models(ort);
const commands = { load: (m) => models.load(m), run: (m) => models.run(m), release: (m) => models.release(m) };
for await (const message of messages(process.stdin)) {
  try {
    answer(...(await commands[message.command](message)));
  } catch (error) {
    answer({ error: String(error?.message ?? error) }, []);
  }
}
