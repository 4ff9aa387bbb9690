// Where the model looked for a word: drawn over the photo, and said in words.

const SIDE = 160; // pixels of a map's longer side; the browser scales it smoothly to the photo's
const DARK = [14, 14, 22];
const GLOW = [255, 176, 40];
const DARKEST = 0.74; // how much of the photo is hidden where the model did not look
const WARMEST = 0.3;
const LEAST_RANGE = 1.5; // from dark to bright, times what each cell has where all have the same

/** Draw a word's attention, a grid of numbers, on the canvas that lies over its photo.
 *
 * `size` is the photo's, and `preprocessing` says how much of it the model saw. A word for which
 * the model looked everywhere a little stays dim.
 */
export function drawAttention(canvas, grid, size, preprocessing) {
  const scale = SIDE / Math.max(size.width, size.height);
  canvas.width = Math.max(1, Math.round(size.width * scale));
  canvas.height = Math.max(1, Math.round(size.height * scale));
  const heat = spread(grid, canvas, size, preprocessing);
  const sorted = heat.slice().sort();
  const low = sorted[Math.floor(0.4 * (sorted.length - 1))];
  const high = sorted[Math.floor(0.997 * (sorted.length - 1))];
  const range = Math.max(high - low, LEAST_RANGE / (grid.length * grid[0].length));
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let pixel = 0; pixel < heat.length; pixel++) {
    const strength = Math.min(Math.max((heat[pixel] - low) / range, 0), 1);
    // one translucent layer that is dark where the model did not look and warm where it did
    const dark = DARKEST * (1 - strength);
    const warm = WARMEST * strength;
    const alpha = dark + warm;
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * pixel + channel] = (DARK[channel] * dark + GLOW[channel] * warm) / alpha;
    }
    image.data[4 * pixel + 3] = 255 * alpha;
  }
  context.putImageData(image, 0, 0);
}

/** Spread a grid smoothly over the canvas; 0 where the model saw nothing of the photo. */
function spread(grid, canvas, size, preprocessing) {
  const [left, top, right, bottom] = seenBox(size, preprocessing);
  const rows = grid.length;
  const columns = grid[0].length;
  const across = taps(canvas.width, size.width, left, right, columns);
  const down = taps(canvas.height, size.height, top, bottom, rows);
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

/** For each pixel of a side the four cells it is mixed of (Catmull-Rom), or null outside. */
function taps(pixels, length, from, to, cells) {
  return Array.from({ length: pixels }, (_, pixel) => {
    const place = (((pixel + 0.5) * length) / pixels - from) / (to - from);
    if (place < 0 || place > 1) return null;
    const centre = place * cells - 0.5;
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

/** What the model sees of a photo, in its pixels: the `seen_box` of showtell's image.py. */
function seenBox(size, { resize, width, height, crop_fraction: fraction }) {
  if (resize === "squash") return [0, 0, size.width, size.height];
  const across = width / size.width;
  const down = height / size.height;
  const scale = resize === "crop" ? Math.max(across, down) / fraction : Math.min(across, down);
  const left = (size.width - width / scale) / 2;
  const top = (size.height - height / scale) / 2;
  return [left, top, left + width / scale, top + height / scale];
}

const PLACES = [
  ["top left", "top", "top right"],
  ["left", "middle", "right"],
  ["bottom left", "bottom", "bottom right"],
];
const MARKED = 0.2; // a ninth of the photo with this share of what was looked at stands out

/** Say where a word's attention lies, as "the bottom left", or "all over the photo". */
export function whereLooked(grid) {
  const share = [[0, 0, 0], [0, 0, 0], [0, 0, 0]];
  let total = 0;
  grid.forEach((line, row) => line.forEach((value, column) => {
    total += value;
    share[Math.floor((3 * (row + 0.5)) / grid.length)][Math.floor((3 * (column + 0.5)) / line.length)] += value;
  }));
  const most = Math.max(...share.flat());
  if (!(most >= MARKED * total) || total === 0) return "all over the photo";
  const row = share.findIndex((line) => line.includes(most));
  return `mostly at the ${PLACES[row][share[row].indexOf(most)]}`;
}
