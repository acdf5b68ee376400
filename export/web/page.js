// The page's face: starts the check in a worker and shows what it says. Texts of a bundle go in as text, never as HTML.

import { describeRaster, drawRaster } from "./raster.js";

const TONES = { equal: "good", differs: "bad", "no verdict": "odd" };
const WORDS = { equal: "✓ Equal", differs: "✗ Differs", "no verdict": "? No verdict" };
const KINDS = { mem: "membranes", syn: "synaptic currents", spk: "spikes", out: "output" };

const part = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");

class Page {
  constructor() {
    this.worker = null;
    this.report = null;
    this.shown = null;
    this.drawn = 0;
    part("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    part("download").addEventListener("click", () => this.download());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(part("raster").parentElement);
  }

  run() {
    this.worker?.terminate();
    this.report = null;
    part("download").hidden = true;
    part("progress").hidden = false;
    part("divergence").hidden = true;
    part("results").hidden = true;
    part("run").textContent = "Run again";
    this.progress(0, "");
    this.say("", "Running", "Every file is checked, then every form of the network runs.", "running");
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this[data.type](data);
    this.worker.onerror = () =>
      this.refused({ message: "This browser cannot run the check, which needs module workers; update it." });
    this.worker.postMessage({ nonce: part("nonce").value || null });
  }

  files({ done, total }) {
    this.progress((0.2 * done) / total, `Checking files: ${done} of ${total}`);
  }

  manifest({ manifest }) {
    const { network, artefacts, vectors, samples, created_by: maker } = manifest;
    part("what").hidden = false;
    const groups = vectors.map(({ name, count }) => `${number(count)} ${name.replaceAll("_", " ")}`);
    facts(part("checked"), [
      ["Made by", maker],
      ["Contract", code(network.digest.slice(0, 16))],
      ["Forms", artefacts.map(({ form, carrier }) => `${form} (${carrier})`).join(", ")],
      ["Layers", [...new Set(manifest.states.map(({ layer }) => layer))].join(", ")],
      ["Samples", `${number(samples)}, of ${number(network.num_steps)} steps`],
      ["Vectors", groups.join(", ")],
      ["Its maker says", network.proved ? "proved exact for all inputs" : `not proved: ${network.reasons.join(" ")}`],
    ]);
  }

  progress(value, text) {
    if (typeof value === "object") {
      const { done, total, form, what } = value;
      this.progress(0.2 + (0.8 * done) / total, `${form}: ${what}`);
      return;
    }
    part("progress").value = value;
    part("doing").textContent = text;
  }

  sample({ form, sample, layers }) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (this.shown && calm && performance.now() - this.drawn < 1000) return;
    this.shown = { form, sample, layers };
    requestAnimationFrame(() => this.draw());
  }

  draw() {
    if (!this.shown) return;
    part("spikes").hidden = false;
    this.drawn = performance.now();
    drawRaster(part("raster"), this.shown);
    part("caption").textContent = describeRaster(this.shown);
    part("raster").setAttribute("aria-label", describeRaster(this.shown));
  }

  verdict({ verdict, report }) {
    this.report = report;
    this.progress(1, "Done");
    const compared = report.runs.reduce((sum, run) => sum + run.numbers_compared, 0);
    const differing = report.runs.reduce((sum, run) => sum + run.tensors_differing, 0);
    const sentence = {
      equal: `${number(compared)} numbers compared, 0 differ.`,
      differs: `${number(compared)} numbers compared; ${number(differing)} tensors differ.`,
      "no verdict": report.runs.find((run) => run.verdict === "no verdict")?.reason,
    };
    part("runs").replaceChildren(...report.runs.map((run) => runCard(run, report.device.clock)));
    part("results").hidden = false;
    this.divergence(report.runs.find((run) => run.verdict === "differs"));
    part("download").hidden = false;
    this.say(TONES[verdict], WORDS[verdict], sentence[verdict], verdict);
  }

  divergence(run) {
    part("divergence").hidden = !run;
    if (!run) return;
    const first = run.first_divergence;
    const place = first && [
      [first.kind === "out" ? "Output" : "Layer", first.layer],
      ["Kind", KINDS[first.kind]],
      ["Step", number(first.step)],
      ["Sample", number(first.sample)],
      ["Found", code(`${first.got.slice(0, 24).join(" ")}${first.got.length > 24 ? " …" : ""}`)],
    ];
    facts(part("divergence-facts"), [["Form", run.form], ...(place ?? []), ["In words", run.reason]]);
  }

  refused({ message }) {
    this.worker?.terminate();
    this.progress(0, "");
    part("progress").hidden = true;
    this.say("odd", "! Refused", message, "refused");
  }

  say(tone, word, sentence, state) {
    part("word").textContent = word;
    part("sentence").textContent = sentence;
    part("verdict").dataset.tone = tone;
    document.documentElement.dataset.state = state;
  }

  download() {
    const url = URL.createObjectURL(new Blob([`${JSON.stringify(this.report, null, 1)}\n`], { type: "application/json" }));
    const link = Object.assign(document.createElement("a"), { href: url, download: "report.json" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }
}

function runCard(run, clock) {
  const { form, carrier, verdict, numbers_compared: compared, tensors_differing: differing, latency_ms: latency } = run;
  const card = element("li", "");
  card.className = "run";
  const title = element("h3", "");
  const tag = element("span", WORDS[verdict]);
  tag.className = "tag";
  tag.dataset.tone = TONES[verdict];
  title.append(element("span", `${form} (${carrier})`), tag);
  const list = element("dl", "");
  facts(list, [
    ["Compared", `${number(compared)} numbers`],
    ["Differing", `${number(differing)} tensors`],
    ...(latency ? [["Inference", duration(latency.inference, clock)]] : []),
    ...(latency?.step ? [["Step", duration(latency.step, clock)]] : []),
    ...(run.assigned.wasm ? [["Nodes", `${number(run.assigned.wasm)} (WebAssembly)`]] : []),
    ...(verdict === "no verdict" ? [["Why", run.reason]] : []),
  ]);
  card.append(title, list);
  return card;
}

function duration({ median, p99, runs }, clock) {
  const text = (value) => (value ? `${value.toLocaleString("en", { maximumSignificantDigits: 3 })} ms` : `under ${clock}`);
  return `median ${text(median)}, p99 ${text(p99)} (${number(runs)} runs)`;
}

function facts(list, entries) {
  list.replaceChildren(...entries.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

function element(tag, content) {
  const made = document.createElement(tag);
  made.append(content);
  return made;
}

function code(text) {
  return element("code", text);
}

const page = new Page();
const nonce = new URLSearchParams(location.search).get("nonce");
if (nonce) part("nonce").value = nonce;
page.run();
