// Plain little-endian numbers: the .npy files of a bundle, and a runtime's tensors as exact codes.

/** Input that is refused: its message is one sentence, without a trace. */
export class BadInput extends Error {}

/** What went wrong, in one sentence. */
export function sentence(error) {
  const text = String(error?.message ?? error)
    .split("\n")[0]
    .slice(0, 400);
  return error instanceof BadInput ? text : `The check ended early: ${text}`;
}

/** Why an artefact cannot be compared at all. */
export class NoVerdict extends Error {}

/** Typed arrays by the name that both NumPy and ONNX Runtime give a type. */
export const ARRAYS = {
  bool: Uint8Array,
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  uint32: Uint32Array,
  int32: Int32Array,
  uint64: BigUint64Array,
  int64: BigInt64Array,
  float32: Float32Array,
  float64: Float64Array,
};

const DESCRIPTIONS = {
  "|b1": "bool",
  "|u1": "uint8",
  "|i1": "int8",
  "<u2": "uint16",
  "<i2": "int16",
  "<u4": "uint32",
  "<i4": "int32",
  "<u8": "uint64",
  "<i8": "int64",
  "<f4": "float32",
  "<f8": "float64",
};

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0];
const HEADER = /^\{'descr': '([<|][a-z][0-9])', 'fortran_order': False, 'shape': \(([0-9, ]*)\), \} *\n$/;

/** The numbers of an .npy file (version 1.0, C order): {dtype, shape, data}. */
export function readNpy(bytes, name) {
  if (bytes.length < 10 || MAGIC.some((byte, i) => bytes[i] !== byte)) {
    throw new BadInput(`${name} is no .npy file of version 1.0.`);
  }
  const start = 10 + bytes[8] + 256 * bytes[9];
  const found = HEADER.exec(String.fromCharCode(...bytes.subarray(10, Math.min(start, 10 + 4096))));
  if (!found || start > bytes.length) {
    throw new BadInput(`${name} has a header that is not that of plain numbers in C order.`);
  }
  if (!Object.hasOwn(DESCRIPTIONS, found[1])) {
    throw new BadInput(`${name} holds ${found[1]}, which is no plain little-endian number.`);
  }
  const dtype = DESCRIPTIONS[found[1]];
  const shape = found[2]
    .split(",")
    .filter((size) => size.trim())
    .map(Number);
  const size = shape.reduce((product, length) => product * length, 1);
  const wanted = size * ARRAYS[dtype].BYTES_PER_ELEMENT;
  if (wanted !== bytes.length - start) {
    throw new BadInput(`${name} declares ${wanted} bytes of numbers and holds ${bytes.length - start}.`);
  }
  return { dtype, shape, data: new ARRAYS[dtype](bytes.slice(start).buffer) };
}

/** float32 numbers as the integers of their bits, with one zero and one NaN. */
export function floatBits(values) {
  const bits = new Int32Array(Float32Array.from(values).buffer);
  for (let i = 0; i < bits.length; i++) {
    const magnitude = bits[i] & 0x7fffffff;
    if (magnitude === 0) bits[i] = 0;
    else if (magnitude > 0x7f800000) bits[i] = 0x7fc00000;
  }
  return bits;
}

/**
 * The numbers of a tensor, plus an offset, as int32 codes; null where one is no such integer. Floats are read as their bits.
 *
 * A carrier may hold codes as floats; 3.5 is no code, and cutting it to 3 would hide a difference.
 */
export function int32Codes(values, numbers, offset) {
  if (numbers === "float32") return values instanceof Float32Array ? floatBits(values) : null;
  if (values instanceof BigInt64Array || values instanceof BigUint64Array) {
    return int32Codes(Float64Array.from(values, Number), numbers, offset);
  }
  const codes = new Int32Array(values.length);
  for (let i = 0; i < codes.length; i++) {
    const code = values[i] + offset;
    codes[i] = code;
    if (codes[i] !== code) return null;
  }
  return codes;
}

/** The numbers of an output in the type that digests and comparisons take: int64, or a float's bits; null as above. */
export function outputCodes(values, floats) {
  if (floats) return values instanceof Float32Array ? floatBits(values) : null;
  if (values instanceof BigInt64Array) return values;
  if (values instanceof BigUint64Array) return values.every((value) => value < 1n << 63n) ? BigInt64Array.from(values) : null;
  return values.every(Number.isSafeInteger) ? BigInt64Array.from(values, BigInt) : null;
}

/** The first numbers as codes that JSON can hold; what is no integer of 53 bits as the lowest of those, which is no code. */
export function plainNumbers(values, offset, most) {
  const plain = (value) => (Number.isSafeInteger(Number(value)) ? Number(value) + offset : Number.MIN_SAFE_INTEGER);
  return Array.from(values.subarray(0, most), plain);
}

/** How many numbers a shape has. */
export function sizeOf(shape) {
  return shape.reduce((product, length) => product * length, 1);
}

/** The bytes beneath a typed array. */
export function bytesOf(values) {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
