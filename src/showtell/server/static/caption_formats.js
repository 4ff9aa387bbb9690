// A caption as HTML or Markdown, and all captions as CSV or JSON.

const HTML_ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const MARKDOWN_SYNTAX = /[\\`*_{}[\]<>&~|]/g;
const FORMULA_START = /^[=+\-@\t\r\n]/; // spreadsheets execute a cell that starts like this
const COLUMNS = ["path", "text", "log_probability", "confidence"];

function escapeHtml(text) {
  return text.replace(/[&<>"']/g, (letter) => HTML_ENTITIES[letter]);
}

/** Keywords as most photo programs take them. */
export function asList(keywords) {
  return keywords.map(({ word }) => word).join(", ");
}

/** A keyword in CSV: "dog 0.93". */
function formatKeyword({ word, probability }) {
  return probability >= 1 ? word : `${word} ${probability.toFixed(2)}`;
}

export function asHtml(name, text) {
  return `<img src="${escapeHtml(encodeURIComponent(name))}" alt="${escapeHtml(text)}">`;
}

export function asMarkdown(name, text) {
  const url = encodeURIComponent(name).replace(/[()]/g, (letter) => (letter === "(" ? "%28" : "%29"));
  return `![${text.replace(MARKDOWN_SYNTAX, "\\$&")}](${url})`;
}

/** The records as `showtell caption --format csv --keywords` writes them, without the model. */
export function asCsv(records) {
  const count = Math.max(0, ...records.map((record) => record.alternatives.length));
  const alternatives = Array.from({ length: count }, (_, index) => `alternative_${index + 1}`);
  const rows = records.map((record) => [
    escapeFormula(record.path),
    escapeFormula(record.text ?? ""),
    formatNumber(record.log_probability),
    formatNumber(record.confidence),
    ...alternatives.map((_, index) => escapeFormula(record.alternatives[index]?.text ?? "")),
    escapeFormula(record.keywords.map(formatKeyword).join("; ")),
    escapeFormula(record.error ?? ""),
  ]);
  const lines = [[...COLUMNS, ...alternatives, "keywords", "error"], ...rows].map((row) => row.map(csvCell).join(","));
  return `\ufeff${lines.join("\n")}\n`; // spreadsheets need the byte order mark to detect UTF-8
}

export function asJson(records) {
  return `${JSON.stringify(records, null, 2)}\n`;
}

function escapeFormula(text) {
  return FORMULA_START.test(text) ? `'${text}` : text;
}

function formatNumber(value) {
  return value === null ? "" : String(Number(value.toPrecision(6)));
}

function csvCell(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
