// A caption in the forms that people need it in: HTML, Markdown, CSV, JSON.

const HTML = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const MARKDOWN = /[\\`*_{}[\]<>&~|]/g;
const FORMULA = /^[=+\-@\t\r\n]/; // what a spreadsheet would run
const COLUMNS = ["path", "text", "log_probability", "confidence"];

export function escapeHtml(text) {
  return text.replace(/[&<>"']/g, (letter) => HTML[letter]);
}

export function asHtml(name, text) {
  return `<img src="${escapeHtml(encodeURIComponent(name))}" alt="${escapeHtml(text)}">`;
}

export function asMarkdown(name, text) {
  const address = encodeURIComponent(name).replace(/[()]/g, (letter) => (letter === "(" ? "%28" : "%29"));
  return `![${text.replace(MARKDOWN, "\\$&")}](${address})`;
}

/** The file of records that `showtell caption --format csv` would write, for spreadsheets. */
export function asCsv(records) {
  const most = Math.max(0, ...records.map((record) => record.alternatives.length));
  const alternatives = Array.from({ length: most }, (_, place) => `alternative_${place + 1}`);
  const rows = records.map((record) => [
    harmless(record.path),
    harmless(record.text ?? ""),
    number(record.log_probability),
    number(record.confidence),
    ...alternatives.map((_, place) => harmless(record.alternatives[place]?.text ?? "")),
    harmless(record.error ?? ""),
  ]);
  const lines = [[...COLUMNS, ...alternatives, "error"], ...rows].map((row) => row.map(cell).join(","));
  return `\ufeff${lines.join("\n")}\n`; // the mark tells spreadsheets that this is UTF-8
}

export function asJson(records) {
  return `${JSON.stringify(records, null, 2)}\n`;
}

function harmless(text) {
  return FORMULA.test(text) ? `'${text}` : text;
}

function number(value) {
  return value === null ? "" : String(Number(value.toPrecision(6)));
}

function cell(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
