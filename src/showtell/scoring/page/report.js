"use strict";
// Sorts and filters the rows of the page, which is complete without this script.
const table = document.getElementById("photos");
const body = table.tBodies[0];
const rows = Array.from(body.rows);
const headings = Array.from(table.tHead.rows[0].cells);
const shown = document.getElementById("shown");

function value(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
}

function compare(a, b) {
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1; // rows without a value come last
  return typeof a === "number" ? a - b : a.localeCompare(b);
}

function sort(column, direction) {
  const sign = direction === "descending" ? -1 : 1;
  const keys = new Map(rows.map((row) => [row, value(row, column)]));
  rows.sort((a, b) => sign * compare(keys.get(a), keys.get(b)));
  body.append(...rows);
  headings.forEach((heading, index) => {
    if (index === column) heading.setAttribute("aria-sort", direction);
    else heading.removeAttribute("aria-sort");
  });
}

function filter(words) {
  let count = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    if (!row.hidden) count += 1;
  }
  shown.textContent = `${count} of ${rows.length} photos`;
}

headings.forEach((heading, column) => {
  const button = heading.querySelector("button");
  if (!button) return;
  button.addEventListener("click", () => {
    const direction = heading.getAttribute("aria-sort");
    sort(column, direction === "ascending" ? "descending" : "ascending");
  });
});
const ciderColumn = headings.findIndex((heading) => heading.dataset.key === "cider");
document.getElementById("worst").addEventListener("click", () => sort(ciderColumn, "ascending"));
document.getElementById("best").addEventListener("click", () => sort(ciderColumn, "descending"));
document.getElementById("words").addEventListener("input", (event) => {
  filter(event.target.value.toLowerCase().split(/\s+/).filter(Boolean));
});
document.getElementById("tools").hidden = false;
