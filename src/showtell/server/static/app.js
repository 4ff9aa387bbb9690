// The page: adds photos, captions them, and downloads the captions.

import { CaptionFailure, CaptionService } from "./api.js";
import { ApiKey } from "./api_key.js";
import { asCsv, asJson } from "./caption_formats.js";
import { Card } from "./card.js";
import { download } from "./clipboard.js";
import { describeConfidence } from "./confidence.js";
import { announce, hideNotice, showNotice } from "./notifications.js";
import { Photo } from "./photo.js";
import { listenForPhotos } from "./photo_input.js";
import { WorkQueue } from "./work_queue.js";

const PARALLEL_REQUESTS = 4; // the service puts waiting photos into one batch
const MAX_SPOKEN_CAPTIONS = 3; // with more photos, screen readers only hear when all are done

const $ = (selector) => document.querySelector(selector);
const preprocessing = JSON.parse(document.body.dataset.preprocessing);
const service = new CaptionService(new ApiKey($("#key")), Number(document.body.dataset.maxBytes));
const queue = new WorkQueue(captionPhoto, PARALLEL_REQUESTS);
const list = $("#cards");
let cards = [];
let queuedSinceIdle = 0; // photos queued since the queue was last empty

const cardActions = {
  announce,
  showNotice,
  changed: update,
  remove: (card) => remove([card], `Removed ${card.photo.name}.`),
  retry: (card) => {
    card.photo.state = "waiting";
    card.render();
    card.focus();
    enqueue(card);
  },
};

function addPhotos(files) {
  const newCards = files.map((file) => new Card(new Photo(file), preprocessing, cardActions));
  cards.push(...newCards);
  list.append(...newCards.map((card) => card.element));
  newCards.forEach(enqueue);
  announce(`${photoCount(newCards)} added`);
}

function enqueue(card) {
  queuedSinceIdle += 1;
  queue.add(card);
  update();
}

async function captionPhoto(card, signal) {
  const { photo } = card;
  photo.state = "working";
  card.render();
  try {
    const onProgress = (busy) => card.showProgress(busy);
    photo.setCaption(await service.caption(photo.file, signal, onProgress));
  } catch (error) {
    if (signal.aborted) {
      photo.state = "waiting"; // removed: if the user brings it back, it starts again
      return;
    }
    photo.setFailure(
      error instanceof CaptionFailure ? error : new CaptionFailure(String(error), true),
    );
  }
  card.render();
  update();
  announceResult(photo);
}

function unfinished() {
  return cards.filter(({ photo }) => photo.state === "waiting" || photo.state === "working").length;
}

/** Tell screen readers each caption of a few photos; of many photos only when all are done. */
function announceResult(photo) {
  if (queuedSinceIdle <= MAX_SPOKEN_CAPTIONS) {
    const confidence = photo.caption?.confidence ?? null;
    const level = confidence === null ? "" : `. ${describeConfidence(confidence).title}`;
    const isDone = photo.state === "done";
    announce(isDone ? `${photo.name}: ${photo.text}${level}` : photo.failure.message);
  } else if (!unfinished()) announce(`All done: ${summary()}`);
  if (!unfinished()) queuedSinceIdle = 0;
}

function summary() {
  const done = cards.filter(({ photo }) => photo.state === "done").length;
  const failed = cards.filter(({ photo }) => photo.state === "failed").length;
  const total = unfinished() ? ` of ${cards.length}` : "";
  return `${done}${total} captioned${failed ? `, ${failed} without a caption` : ""}`;
}

function photoCount(some) {
  return some.length === 1 ? "1 photo" : `${some.length} photos`;
}

/** Bring everything but the cards up to date. */
function update() {
  const remaining = unfinished();
  document.body.classList.toggle("empty", cards.length === 0);
  $("#photos").hidden = cards.length === 0;
  $("#summary").textContent = summary();
  $("#progress").hidden = remaining === 0;
  $("#progress").value = cards.length ? 1 - remaining / cards.length : 0;
  const noCaptions = !cards.some(({ photo }) => photo.state === "done");
  for (const id of ["#csv", "#json"]) $(id).disabled = noCaptions;
}

function remove(removed, message) {
  const cardsBefore = cards;
  const index = cards.indexOf(removed[0]);
  cards = cards.filter((card) => !removed.includes(card));
  for (const card of removed) {
    queue.remove(card);
    card.element.remove();
    card.hidePhoto();
  }
  update();
  const next = cards[Math.min(index, cards.length - 1)];
  if (next) next.focus();
  else $("#files").focus();
  showNotice(message, () => restore(removed, cardsBefore));
}

/** Put removed cards back in their old order; cards added since then come after them. */
function restore(removed, cardsBefore) {
  cards = [...cardsBefore, ...cards.filter((card) => !cardsBefore.includes(card))];
  list.replaceChildren(...cards.map((card) => card.element));
  for (const card of removed) {
    card.showPhoto();
    if (card.photo.state === "waiting" || card.photo.state === "working") enqueue(card);
  }
  update();
  removed[0].focus();
}

function downloadAll(name, format, type) {
  const finished = cards
    .map((card) => card.photo)
    .filter(({ state }) => state === "done" || state === "failed");
  download(name, format(finished.map((photo) => photo.record())), type);
  for (const photo of finished) photo.saved = true;
  const remaining = unfinished();
  if (remaining) {
    showNotice(`${remaining} not in the file yet: download it again when all are done.`);
  } else announce(`Downloaded ${name}`);
}

listenForPhotos({
  input: $("#files"),
  onPhotos: (files) => { hideNotice(); addPhotos(files); },
  onNoPhotos: showNotice,
});
$("#csv").addEventListener("click", () => downloadAll("captions.csv", asCsv, "text/csv"));
$("#json").addEventListener("click", () => downloadAll("captions.json", asJson, "application/json"));
$("#clear").addEventListener("click", () => remove(cards, `Removed ${photoCount(cards)}.`));
window.addEventListener("beforeunload", (event) => {
  if (cards.some(({ photo }) => !photo.saved)) event.preventDefault();
});
