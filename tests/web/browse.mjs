// node browse.mjs JSON: opens a page in Chromium as JSON says, waits for its verdict, prints what it shows as JSON.

import { access } from "node:fs/promises";
import path from "node:path";
import puppeteer from "puppeteer-core";

const {
  url,
  chromium,
  width,
  height,
  dark = false,
  downloads = null,
  screenshot = null,
  timeout = 60_000,
  focus = 0,
  wait = true,
} = JSON.parse(process.argv[2]);
const browser = await puppeteer.launch({
  executablePath: chromium,
  headless: true,
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
try {
  const page = await browser.newPage();
  const problems = [];
  const requests = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("request", (request) => requests.push(request.url()));
  await page.setViewport({ width, height, deviceScaleFactor: 2, isMobile: width < 600, hasTouch: width < 600 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }]);
  const began = Date.now();
  await page.goto(url);
  if (url.startsWith("http") && wait) {
    await page.waitForFunction(() => !["running", undefined].includes(document.documentElement.dataset.state), { timeout });
  }
  const seconds = (Date.now() - began) / 1000;
  await new Promise((resolve) => setTimeout(resolve, 200));
  const focused = [];
  for (let i = 0; i < focus; i++) {
    await page.keyboard.press("Tab");
    focused.push(await page.evaluate(() => document.activeElement.id));
  }
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  if (downloads) {
    const client = await page.createCDPSession();
    await client.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: downloads });
    await page.click("#download");
    for (
      let i = 0;
      i < 100 &&
      !(await access(path.join(downloads, "report.json")).then(
        () => true,
        () => false,
      ));
      i++
    ) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  const shown = await page.evaluate(() => {
    const text = (id) => (document.getElementById(id).hidden ? null : document.getElementById(id).innerText);
    const canvas = document.getElementById("raster");
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const colours = new Set();
    for (let i = 0; i < pixels.length; i += 4) colours.add(pixels.slice(i, i + 4).join());
    return {
      state: document.documentElement.dataset.state,
      tone: document.getElementById("verdict").dataset.tone,
      verdict: text("verdict"),
      colour: getComputedStyle(document.getElementById("word")).color,
      checked: text("checked"),
      divergence: text("divergence"),
      results: text("results"),
      caption: text("caption"),
      openedAsFile: text("opened-as-file"),
      notLoaded: text("not-loaded"),
      progress: document.getElementById("progress").value,
      rasterColours: colours.size,
      overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      images: document.images.length,
    };
  });
  console.log(JSON.stringify({ ...shown, seconds, problems, requests, focused }));
} finally {
  await browser.close();
}
