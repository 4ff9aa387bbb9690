// The keywords of a photo as chips. Those that are on are copied and downloaded.

import { percentage } from "./confidence.js";

const LEAST_PROBABILITY = 0.2; // of a keyword that has a chip

export class KeywordChips {
  #list;
  #photo;
  #onChange;

  /** `onChange` is called when the user turns a keyword on or off. */
  constructor(list, photo, onChange) {
    this.#list = list;
    this.#photo = photo;
    this.#onChange = onChange;
    const shown = photo.caption.keywords.filter((keyword) => keyword.probability >= LEAST_PROBABILITY);
    list.replaceChildren(...shown.map((keyword) => this.#chip(keyword)));
  }

  get isEmpty() {
    return this.#list.children.length === 0;
  }

  #chip({ word, probability }) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    const likely = `${percentage(Math.log(probability))} likely`;
    button.type = "button";
    button.textContent = word;
    button.title = likely;
    button.setAttribute("aria-label", `${word}, ${likely}`);
    const showState = () => button.setAttribute("aria-pressed", String(this.#photo.keywords.has(word)));
    button.addEventListener("click", () => {
      this.#photo.toggleKeyword(word);
      showState();
      this.#onChange();
    });
    showState();
    item.append(button);
    return item;
  }
}
