// The page: photos come in, captions come back, and go out again.

import { Failure, Service } from "./api.js";
import { Card } from "./card.js";
import { download } from "./clipboard.js";
import { confidenceInWords } from "./confidence.js";
import { asCsv, asJson } from "./caption_formats.js";
import { listen } from "./photo_input.js";
import { Key } from "./api_key.js";
import { dismiss, say, show } from "./notifications.js";
import { Photo } from "./photo.js";
import { Queue } from "./work_queue.js";

const AT_ONCE = 4; // requests: the service puts what waits together into one batch
const FEW = 3; // so many new captions are read out one by one

const $ = (selector) => document.querySelector(selector);
const preprocessing = JSON.parse(document.body.dataset.preprocessing);
const service = new Service(new Key($("#key")), Number(document.body.dataset.maxBytes));
const queue = new Queue(work, AT_ONCE);
const list = $("#cards");
let cards = [];
let burst = 0; // how many photos came since nothing was left to do

const act = {
  say: (text, visibly = false) => (visibly ? show(text) : say(text)),
  changed: update,
  remove: (card) => remove([card], `Removed ${card.photo.name}.`),
  again: (card) => {
    card.photo.state = "waiting";
    card.render();
    card.focus();
    enqueue(card);
  },
};

function take(files) {
  const fresh = files.map((file) => new Card(new Photo(file), preprocessing, act));
  cards.push(...fresh);
  list.append(...fresh.map((card) => card.element));
  fresh.forEach(enqueue);
  say(fresh.length === 1 ? "1 photo added" : `${fresh.length} photos added`);
}

function enqueue(card) {
  burst += 1;
  queue.add(card);
  update();
}

async function work(card, signal) {
  const { photo } = card;
  photo.state = "working";
  card.render();
  try {
    photo.captioned(await service.caption(photo.file, signal, (busy) => card.tell(busy)));
  } catch (error) {
    if (signal.aborted) {
      photo.state = "waiting"; // removed: should it come back, it starts anew
      return;
    }
    photo.failed(error instanceof Failure ? error : new Failure(String(error), true));
  }
  card.render();
  update();
  announce(photo);
}

function pending() {
  return cards.filter(({ photo }) => photo.state === "waiting" || photo.state === "working").length;
}

/** Read out each caption of a few photos, of many only that all are done. */
function announce(photo) {
  if (burst <= FEW) {
    const sure = photo.caption?.confidence ?? null;
    const level = sure === null ? "" : `. ${confidenceInWords(sure).words}`;
    say(photo.state === "done" ? `${photo.name}: ${photo.text}${level}` : photo.failure.message);
  } else if (!pending()) say(`All done: ${summary()}`);
  if (!pending()) burst = 0;
}

function summary() {
  const done = cards.filter(({ photo }) => photo.state === "done").length;
  const failed = cards.filter(({ photo }) => photo.state === "failed").length;
  const of = pending() ? ` of ${cards.length}` : "";
  return `${done}${of} captioned${failed ? `, ${failed} without a caption` : ""}`;
}

function update() {
  const left = pending();
  document.body.classList.toggle("empty", cards.length === 0);
  $("#photos").hidden = cards.length === 0;
  $("#summary").textContent = summary();
  $("#progress").hidden = left === 0;
  $("#progress").value = cards.length ? 1 - left / cards.length : 0;
  const nothing = !cards.some(({ photo }) => photo.state === "done");
  for (const id of ["#csv", "#json"]) $(id).disabled = nothing;
}

function remove(gone, words) {
  const before = cards;
  const place = cards.indexOf(gone[0]);
  cards = cards.filter((card) => !gone.includes(card));
  for (const card of gone) {
    queue.remove(card);
    card.element.remove();
    card.hide();
  }
  update();
  const next = cards[Math.min(place, cards.length - 1)];
  if (next) next.focus();
  else $("#files").focus();
  show(words, () => restore(gone, before));
}

/** Bring removed cards back to where they were; what came meanwhile stays behind them. */
function restore(gone, before) {
  cards = [...before, ...cards.filter((card) => !before.includes(card))];
  list.replaceChildren(...cards.map((card) => card.element));
  for (const card of gone) {
    card.show();
    if (card.photo.state === "waiting" || card.photo.state === "working") enqueue(card);
  }
  update();
  gone[0].focus();
}

function save(name, write, type) {
  const finished = cards.map((card) => card.photo).filter(({ state }) => state === "done" || state === "failed");
  download(name, write(finished.map((photo) => photo.record())), type);
  for (const photo of finished) photo.kept = true;
  const left = pending();
  if (left) show(`${left} not in the file yet: download it again when all are done.`);
  else say(`Downloaded ${name}`);
}

listen({ input: $("#files"), take: (files) => { dismiss(); take(files); }, say: show });
$("#csv").addEventListener("click", () => save("captions.csv", asCsv, "text/csv"));
$("#json").addEventListener("click", () => save("captions.json", asJson, "application/json"));
$("#clear").addEventListener("click", () => {
  const count = cards.length === 1 ? "1 photo" : `${cards.length} photos`;
  remove(cards, `Removed ${count}.`);
});
window.addEventListener("beforeunload", (event) => {
  if (cards.some(({ photo }) => !photo.kept)) event.preventDefault();
});
