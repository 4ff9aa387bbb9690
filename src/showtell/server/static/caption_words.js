// A caption's words: pass over one, and the photo shows where the model looked for it.

import { drawAttention, whereLooked } from "./attention.js";
import { percentage } from "./confidence.js";

const DOUBTFUL = Math.log(0.1); // a word less likely than this was doubtful to the model
const HINT = "Point at a word, or tap it, to see where the model looked.";
const DOTTED = "Dotted: the model was unsure of the word.";

/** The row of words of one caption; one stop of the Tab key, arrows move between the words. */
export class Words {
  #row;
  #note;
  #words;
  #show; // (place or null) draws on the photo
  #pinned = null;
  #hint = HINT;

  constructor(row, note, words, show) {
    this.#row = row;
    this.#note = note;
    this.#words = words;
    this.#show = show;
    const doubts = words.some((word) => word.log_probability < DOUBTFUL);
    if (doubts) this.#hint = `${HINT} ${DOTTED}`;
    note.classList.toggle("doubts", doubts);
    row.setAttribute("aria-label", "Words, and where the model looked for each");
    row.replaceChildren(...words.flatMap((word, place) => [this.#button(word, place), " "]));
    row.addEventListener("pointerleave", () => this.#look(this.#pinned));
    row.addEventListener("focusout", (event) => {
      if (!row.contains(event.relatedTarget)) this.#pin(null);
    });
    row.addEventListener("keydown", (event) => this.#key(event));
    this.#look(null);
  }

  #button(word, place) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = word.word;
    button.tabIndex = place === 0 ? 0 : -1;
    button.setAttribute("aria-label", `${word.word}, looked ${whereLooked(word.attention)}`);
    button.classList.toggle("doubtful", word.log_probability < DOUBTFUL);
    button.addEventListener("pointerenter", (event) => {
      if (event.pointerType === "mouse") this.#look(place);
    });
    button.addEventListener("focus", () => {
      for (const other of this.#row.children) other.tabIndex = other === button ? 0 : -1;
      if (button.matches(":focus-visible")) this.#pin(place);
    });
    button.addEventListener("click", () => this.#pin(this.#pinned === place ? null : place));
    return button;
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
    const buttons = [...this.#row.children];
    const here = buttons.indexOf(document.activeElement);
    const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (event.key === "Escape") this.#pin(null);
    else if (to !== undefined) buttons.at(to % buttons.length).focus();
    else return;
    event.preventDefault();
  }

  #pin(place) {
    this.#pinned = place;
    this.#look(place);
  }

  #look(place) {
    [...this.#row.children].forEach((button, other) => button.classList.toggle("lit", other === place));
    this.#note.classList.toggle("says", place !== null);
    this.#note.textContent = place === null ? this.#hint : this.#said(this.#words[place]);
    this.#show(place);
  }

  #said({ word, log_probability: logProbability, attention }) {
    const sure = logProbability < DOUBTFUL ? "unsure of the word" : "sure of the word";
    return `“${word}”: looked ${whereLooked(attention)} · ${percentage(logProbability)} ${sure}`;
  }
}

/** Draw attention over a photo once it is there; does nothing where it cannot be shown. */
export function overlay(image, canvas, words, preprocessing) {
  return (place) => {
    const shown = place !== null && image.naturalWidth > 0;
    canvas.classList.toggle("on", shown);
    if (!shown) return;
    const size = { width: image.naturalWidth, height: image.naturalHeight };
    drawAttention(canvas, words[place].attention, size, preprocessing);
  };
}
