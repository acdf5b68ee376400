// `node web/node.mjs [--nonce N] [--report FILE] [--quick]` in an unpacked bundle: the check of validate.html, under node.

import { lstat, open, rename, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { loadRuntime } from "./runtime.js";
import { BadInput, checkNonce, openBundle, sentence, validate } from "./validator.js";

const EXIT = { equal: 0, differs: 1, "no verdict": 3 };
const BAD_INPUT = 2;
const HERE = path.dirname(fileURLToPath(import.meta.url));
const HELP = `Usage: node web/node.mjs [--nonce N] [--report FILE] [--quick]
Runs the bundle's golden vectors through onnxruntime-web, compares every number and writes FILE (report.json).
--quick measures latency for a moment only.
Exit codes: 0 equal, 1 differs, 2 bad input, 3 no verdict.`;

/** A bundle's file: a plain one below the folder, no link, and not larger than `most`. */
async function read(name, most) {
  const parts = name.split("/");
  for (let i = 1; i <= parts.length; i++) {
    const place = path.join(HERE, "..", ...parts.slice(0, i));
    const status = await lstat(place).catch(() => null);
    if (!status) throw new BadInput(`${name} is missing from the bundle.`);
    if (i < parts.length ? !status.isDirectory() : !status.isFile())
      throw new BadInput(`${name} is no plain file of the bundle.`);
  }
  const file = await open(path.join(HERE, "..", ...parts));
  try {
    const { size } = await file.stat();
    if (size > most) throw new BadInput(`${name} has ${size} bytes, more than the ${most} it may have.`);
    return new Uint8Array(await file.readFile());
  } finally {
    await file.close();
  }
}

function device(ort) {
  return {
    machine: os.machine?.() ?? os.arch(),
    system: `${os.type()} ${os.release()}`,
    processor: os.cpus()[0]?.model || "unknown",
    node: process.version,
    runtime: `onnxruntime-web ${ort.env.versions.web}`,
  };
}

/** A line that replaces itself on a terminal, and one for each new text elsewhere. */
function line(text, last) {
  if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${text.slice(0, process.stdout.columns ?? 80)}`);
  else if (text !== last) console.log(text);
  return text;
}

async function check({ nonce, quick, report: target }) {
  let last = "";
  if (nonce !== null) checkNonce(nonce);
  const bundle = await openBundle(read, (done, total) => {
    if (process.stdout.isTTY) last = line(`files: ${done} of ${total}`, last);
  });
  if (nonce !== null) checkNonce(nonce, bundle.manifest);
  const held = ["manifest.json", ...Object.keys(bundle.manifest.files)].map((name) => path.resolve(HERE, "..", name));
  if (held.includes(path.resolve(target))) {
    throw new BadInput(`${JSON.stringify(target)} is a file of the bundle, which a report would replace; choose another.`);
  }
  const ort = await loadRuntime(bundle);
  const { verdict, report } = await validate(bundle, {
    ort,
    nonce,
    quick,
    validator: "node.mjs",
    device: device(ort),
    peakMemory: () => process.resourceUsage().maxRSS * 1024,
    progress: ({ done, total, form, carrier, what }) => {
      const graph = `${form}, ${carrier}`;
      last = line(process.stdout.isTTY ? `${Math.floor((100 * done) / total)} % ${graph}: ${what}` : graph, last);
    },
  });
  if (process.stdout.isTTY) process.stdout.write("\r\x1b[K");
  await write(target, `${JSON.stringify(report, null, 1)}\n`);
  report.runs.forEach(print);
  const compared = report.runs.reduce((sum, run) => sum + run.numbers_compared, 0);
  console.log(`${verdict}: ${compared} numbers compared; ${target} written.`);
  return EXIT[verdict];
}

function print(run) {
  const counts = `${run.numbers_compared} numbers, ${run.tensors_differing} tensors differ`;
  console.log(`${run.form}, ${run.carrier}: ${run.verdict} (${counts})`);
  if (run.reason) console.log(`  ${run.reason}`);
  for (const [what, ms] of Object.entries(run.latency_ms ?? {})) {
    if (ms) console.log(`  ${what}: median ${ms.median.toFixed(3)} ms, p99 ${ms.p99.toFixed(3)} ms, ${ms.runs} runs`);
  }
}

async function write(target, text) {
  const temporary = `${target}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, text, { flag: "wx" });
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw new BadInput(`Cannot write ${JSON.stringify(target)}: ${error.code}; choose a folder that exists and is writable.`);
  }
}

async function main() {
  let values;
  try {
    const flag = { type: "boolean", default: false };
    const text = { type: "string" };
    ({ values } = parseArgs({ options: { nonce: text, report: text, quick: flag, help: flag } }));
  } catch (error) {
    throw new BadInput(`${error.message.split("\n")[0]} See --help.`);
  }
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  return check({ nonce: values.nonce ?? null, quick: values.quick, report: values.report ?? "report.json" });
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(sentence(error).replace(/[^ -~]/g, "?"));
  process.exitCode = BAD_INPUT;
}
