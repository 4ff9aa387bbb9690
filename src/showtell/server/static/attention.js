// Shows where the model looked for a word: over the photo, and as text.

const MAP_SIZE = 160; // pixels of the map's longer side; the browser scales it to the photo's size
const DARK = [14, 14, 22];
const GLOW = [255, 176, 40];
const DARK_OPACITY = 0.74; // where the model did not look
const GLOW_OPACITY = 0.3; // where it looked most
const MIN_RANGE = 1.5; // between dark and bright, in multiples of uniform attention

/** Draws attention maps on a canvas over the photo. */
export class AttentionOverlay {
  #image;
  #canvas;
  #preprocessing;

  constructor(image, canvas, preprocessing) {
    this.#image = image;
    this.#canvas = canvas;
    this.#preprocessing = preprocessing;
  }

  /** Show a map, or nothing for null; does nothing while the browser cannot show the photo. */
  show(attention) {
    const size = { width: this.#image.naturalWidth, height: this.#image.naturalHeight };
    const visible = attention !== null && size.width > 0;
    this.#canvas.classList.toggle("visible", visible);
    if (visible) drawAttention(this.#canvas, attention, size, this.#preprocessing);
  }
}

/** Draw an attention map (rows of numbers) on the canvas over a photo.
 *
 * `size` is the photo's in pixels; `preprocessing` determines which part of it the model saw. If
 * the attention is spread over the whole photo, the photo stays dim.
 */
export function drawAttention(canvas, grid, size, preprocessing) {
  const scale = MAP_SIZE / Math.max(size.width, size.height);
  canvas.width = Math.max(1, Math.round(size.width * scale));
  canvas.height = Math.max(1, Math.round(size.height * scale));
  const heat = interpolate(grid, canvas, size, preprocessing);
  const sorted = heat.slice().sort();
  const low = sorted[Math.floor(0.4 * (sorted.length - 1))];
  const high = sorted[Math.floor(0.997 * (sorted.length - 1))];
  const range = Math.max(high - low, MIN_RANGE / (grid.length * grid[0].length));
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let pixel = 0; pixel < heat.length; pixel++) {
    const strength = Math.min(Math.max((heat[pixel] - low) / range, 0), 1);
    // Blend two layers into one: dark where the model did not look, glowing where it did.
    const dark = DARK_OPACITY * (1 - strength);
    const glow = GLOW_OPACITY * strength;
    const alpha = dark + glow;
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * pixel + channel] = (DARK[channel] * dark + GLOW[channel] * glow) / alpha;
    }
    image.data[4 * pixel + 3] = 255 * alpha;
  }
  context.putImageData(image, 0, 0);
}

/** Interpolate a grid over the canvas; 0 where the model did not see the photo. */
function interpolate(grid, canvas, size, preprocessing) {
  const [left, top, right, bottom] = seenBox(size, preprocessing);
  const rows = grid.length;
  const columns = grid[0].length;
  const across = interpolationWeights(canvas.width, size.width, left, right, columns);
  const down = interpolationWeights(canvas.height, size.height, top, bottom, rows);
  const heat = new Float32Array(canvas.width * canvas.height);
  for (let y = 0; y < canvas.height; y++) {
    if (!down[y]) continue;
    const line = new Float32Array(columns);
    for (const [row, weight] of down[y]) {
      for (let column = 0; column < columns; column++) line[column] += weight * grid[row][column];
    }
    for (let x = 0; x < canvas.width; x++) {
      if (!across[x]) continue;
      let value = 0;
      for (const [column, weight] of across[x]) value += weight * line[column];
      heat[y * canvas.width + x] = Math.max(value, 0);
    }
  }
  return heat;
}

/** For each pixel of a side: its four cells and their weights (Catmull-Rom), or null outside. */
function interpolationWeights(pixels, length, from, to, cells) {
  return Array.from({ length: pixels }, (_, pixel) => {
    const position = (((pixel + 0.5) * length) / pixels - from) / (to - from);
    if (position < 0 || position > 1) return null;
    const centre = position * cells - 0.5;
    const first = Math.floor(centre);
    const t = centre - first;
    const weights = [
      (-t + 2 * t * t - t ** 3) / 2,
      (2 - 5 * t * t + 3 * t ** 3) / 2,
      (t + 4 * t * t - 3 * t ** 3) / 2,
      (-t * t + t ** 3) / 2,
    ];
    return weights.map((weight, step) => [Math.min(Math.max(first + step - 1, 0), cells - 1), weight]);
  });
}

/** The box of the photo that the model sees, in pixels; `visible_box` in image.py computes the same. */
function seenBox(size, { resize, width, height, crop_fraction: fraction }) {
  if (resize === "squash") return [0, 0, size.width, size.height];
  const across = width / size.width;
  const down = height / size.height;
  const scale = resize === "crop" ? Math.max(across, down) / fraction : Math.min(across, down);
  const left = (size.width - width / scale) / 2;
  const top = (size.height - height / scale) / 2;
  return [left, top, left + width / scale, top + height / scale];
}

const REGION_NAMES = [
  ["at the top left", "at the top", "at the top right"],
  ["on the left", "in the middle", "on the right"],
  ["at the bottom left", "at the bottom", "at the bottom right"],
];
const MIN_SHARE = 0.2; // of all attention, that a ninth of the photo must have to be named

/** Describe where most attention is, such as "mostly at the top left" or "all over the photo". */
export function describeAttention(grid) {
  const share = [[0, 0, 0], [0, 0, 0], [0, 0, 0]];
  let total = 0;
  grid.forEach((line, row) => line.forEach((value, column) => {
    total += value;
    share[Math.floor((3 * (row + 0.5)) / grid.length)][Math.floor((3 * (column + 0.5)) / line.length)] += value;
  }));
  const most = Math.max(...share.flat());
  if (!(most >= MIN_SHARE * total) || total === 0) return "all over the photo";
  const row = share.findIndex((line) => line.includes(most));
  return `mostly ${REGION_NAMES[row][share[row].indexOf(most)]}`;
}
