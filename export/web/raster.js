// The spikes of one sample on a canvas: a band for each layer, a row for each neuron, time to the right.

const TITLE = 20;
const GAP = 8;
const MOST_PIXELS = 16_000;

/** Draw a sample ({layers: [{layer, neurons, rows, steps, spikes}]}) in the colours of the page. */
export function drawRaster(canvas, { layers }) {
  const width = Math.max(canvas.clientWidth, 1);
  const bands = layers.map((layer) => ({ ...layer, row: Math.max(1.5, Math.min(8, 150 / layer.rows)) }));
  const height = bands.reduce((sum, { rows, row }) => sum + TITLE + rows * row + GAP, 0);
  const scale = Math.min(window.devicePixelRatio || 1, MOST_PIXELS / Math.max(width, height));
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.height = `${height}px`;
  const style = getComputedStyle(canvas);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.font = "13px system-ui, sans-serif";
  context.textBaseline = "middle";
  let top = 0;
  for (const band of bands) {
    context.fillStyle = style.getPropertyValue("--dim");
    context.fillText(titleOf(band), 0, top + TITLE / 2, width);
    drawBand(context, band, { top: top + TITLE, width, style });
    top += TITLE + band.rows * band.row + GAP;
  }
}

function drawBand(context, { rows, row, steps, spikes }, { top, width, style }) {
  const column = width / steps;
  const gap = column > 4 ? 1 : 0;
  context.fillStyle = style.getPropertyValue("--band");
  context.fillRect(0, top, width, rows * row);
  context.fillStyle = style.getPropertyValue("--spike");
  for (let r = 0; r < rows; r++) {
    for (let t = 0; t < steps; t++) {
      if (spikes[r * steps + t]) context.fillRect(t * column, top + r * row, Math.max(column - gap, 1), Math.max(row - 0.5, 1));
    }
  }
}

function titleOf({ layer, neurons, rows }) {
  return `${layer}: ${rows < neurons ? `${rows} of ` : ""}${neurons.toLocaleString("en")} neurons`;
}

/** The picture in words. */
export function describeRaster({ form, sample, layers }) {
  const counts = layers.map(
    ({ layer, spikes }) => `${spikes.reduce((sum, spike) => sum + spike, 0).toLocaleString("en")} in ${layer}`,
  );
  return `${form}, sample ${sample}: spikes over ${layers[0]?.steps ?? 0} steps, ${counts.join(", ")}.`;
}
