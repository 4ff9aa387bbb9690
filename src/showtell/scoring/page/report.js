"use strict";
// Sorts and filters the rows that the page already holds; without it the page reads the same.
const table = document.getElementById("photos");
const body = table.tBodies[0];
const rows = Array.from(body.rows);
const heads = Array.from(table.tHead.rows[0].cells);
const shown = document.getElementById("shown");

function value(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
}

function compare(a, b) {
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1; // no value comes last
  return typeof a === "number" ? a - b : a.localeCompare(b);
}

function sort(column, direction) {
  const sign = direction === "descending" ? -1 : 1;
  const keys = new Map(rows.map((row) => [row, value(row, column)]));
  rows.sort((a, b) => sign * compare(keys.get(a), keys.get(b)));
  body.append(...rows);
  heads.forEach((head, place) => {
    if (place === column) head.setAttribute("aria-sort", direction);
    else head.removeAttribute("aria-sort");
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

heads.forEach((head, column) => {
  const button = head.querySelector("button");
  if (!button) return;
  button.addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    sort(column, now === "ascending" ? "descending" : "ascending");
  });
});
const judged = heads.findIndex((head) => head.dataset.key === "cider");
document.getElementById("worst").addEventListener("click", () => sort(judged, "ascending"));
document.getElementById("best").addEventListener("click", () => sort(judged, "descending"));
document.getElementById("words").addEventListener("input", (event) => {
  filter(event.target.value.toLowerCase().split(/\s+/).filter(Boolean));
});
document.getElementById("tools").hidden = false;
