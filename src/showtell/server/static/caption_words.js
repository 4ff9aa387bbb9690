// The words of a caption: pointing at one shows on the photo where the model looked for it.

import { describeAttention } from "./attention.js";
import { percentage } from "./confidence.js";

const UNCERTAIN = Math.log(0.1); // a word with a lower log-probability is marked as uncertain
const HINT = "Point at a word, or tap it, to see where the model looked.";
const UNCERTAIN_HINT = "Dotted: the model was unsure of the word.";

/** A toolbar of word buttons: one stop of the Tab key, and arrow keys move between the words. */
export class CaptionWords {
  #toolbar;
  #note;
  #words;
  #overlay;
  #selected = null; // index of the word that stays highlighted
  #hint = HINT;

  /** `note` is the element that describes the highlighted word. */
  constructor(toolbar, note, words, overlay) {
    this.#toolbar = toolbar;
    this.#note = note;
    this.#words = words;
    this.#overlay = overlay;
    const hasUncertain = words.some((word) => word.log_probability < UNCERTAIN);
    if (hasUncertain) this.#hint = `${HINT} ${UNCERTAIN_HINT}`;
    note.classList.toggle("has-uncertain", hasUncertain);
    toolbar.setAttribute("aria-label", "Words, and where the model looked for each");
    toolbar.replaceChildren(...words.flatMap((word, index) => [this.#button(word, index), " "]));
    toolbar.addEventListener("pointerleave", () => this.#highlight(this.#selected));
    toolbar.addEventListener("focusout", (event) => {
      if (!toolbar.contains(event.relatedTarget)) this.#select(null);
    });
    toolbar.addEventListener("keydown", (event) => this.#onKey(event));
    this.#highlight(null);
  }

  #button(word, index) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = word.word;
    button.tabIndex = index === 0 ? 0 : -1;
    button.setAttribute("aria-label", `${word.word}, looked ${describeAttention(word.attention)}`);
    button.classList.toggle("uncertain", word.log_probability < UNCERTAIN);
    button.addEventListener("pointerenter", (event) => {
      if (event.pointerType === "mouse") this.#highlight(index);
    });
    button.addEventListener("focus", () => {
      for (const other of this.#toolbar.children) other.tabIndex = other === button ? 0 : -1;
      if (button.matches(":focus-visible")) this.#select(index);
    });
    button.addEventListener("click", () => this.#select(this.#selected === index ? null : index));
    return button;
  }

  #onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own shortcuts
    const buttons = [...this.#toolbar.children];
    const current = buttons.indexOf(document.activeElement);
    const targets = {
      ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: buttons.length - 1,
    };
    const target = targets[event.key];
    if (event.key === "Escape") this.#select(null);
    else if (target !== undefined) buttons.at(target % buttons.length).focus();
    else return;
    event.preventDefault();
  }

  #select(index) {
    this.#selected = index;
    this.#highlight(index);
  }

  /** Highlight the word at an index, or none for null. */
  #highlight(index) {
    const word = index === null ? null : this.#words[index];
    [...this.#toolbar.children].forEach((button, other) => {
      button.classList.toggle("highlighted", other === index);
    });
    this.#note.classList.toggle("has-word", word !== null);
    this.#note.textContent = word === null ? this.#hint : describeWord(word);
    this.#overlay.show(word?.attention ?? null);
  }
}

function describeWord({ word, log_probability: logProbability, attention }) {
  const certainty = `${percentage(logProbability)} sure of the word`;
  return `“${word}”: looked ${describeAttention(attention)} · ${certainty}`;
}
