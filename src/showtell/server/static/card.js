// One photo's card: waiting, its caption with all that can be done with it, or its error.

import { confidenceInWords } from "./confidence.js";
import { copy } from "./clipboard.js";
import { asHtml, asMarkdown } from "./caption_formats.js";
import { Words, overlay } from "./caption_words.js";

const COPIED = 1600; // milliseconds for which a button says so
const FORMS = { text: (_, text) => text, html: asHtml, markdown: asMarkdown };
const FORM_NAMES = { text: "Text", html: "HTML", markdown: "Markdown" };

export class Card {
  #photo;
  #act;
  #preprocessing;
  #address;
  #words = null;

  /** `act` has what a card asks of the page: again(card), remove(card), say(text), changed(). */
  constructor(photo, preprocessing, act) {
    this.#photo = photo;
    this.#preprocessing = preprocessing;
    this.#act = act;
    this.element = document.querySelector("#card").content.firstElementChild.cloneNode(true);
    this.element.querySelector(".name").textContent = photo.name;
    this.element.querySelector("article").setAttribute("aria-label", photo.name);
    this.#$(".edit textarea").setAttribute("aria-label", `Caption of ${photo.name}`);
    this.#$(".remove").setAttribute("aria-label", `Remove ${photo.name}`);
    this.#listen();
    this.show();
    this.render();
  }

  get photo() {
    return this.#photo;
  }

  #$(selector) {
    return this.element.querySelector(selector);
  }

  /** Show the photo: the card is on the page (again). */
  show() {
    const image = this.#$("img");
    this.#address = URL.createObjectURL(this.#photo.file);
    image.addEventListener("error", () => this.#unshown(), { once: true });
    image.src = this.#address;
  }

  /** Let go of the photo's pixels: the card is off the page. */
  hide() {
    URL.revokeObjectURL(this.#address);
  }

  /** HEIC and TIFF are not shown by every browser; the model may read them all the same. */
  #unshown() {
    this.#$("img").hidden = true;
    this.#$(".unshown").hidden = false;
    this.render();
  }

  /** Say whether the photo is looked at, or the service too busy for it. */
  tell(busy) {
    this.#$(".state").textContent = busy ? "The service is busy: waiting" : "Looking at it";
  }

  focus() {
    this.#$(".name").focus();
  }

  /** Bring the card up to date with its photo. */
  render() {
    const { state, failure, name } = this.#photo;
    const done = state === "done";
    this.element.dataset.state = state;
    this.#$("article").setAttribute("aria-busy", String(state === "waiting" || state === "working"));
    this.#$(".working").hidden = done || state === "failed";
    if (state === "waiting") this.#$(".state").textContent = "Waiting its turn";
    this.#$(".failed").hidden = state !== "failed";
    this.#$(".result").hidden = !done;
    this.#$(".change").hidden = !done;
    this.#$(".copy").hidden = !done;
    if (state === "failed") {
      this.#$(".reason").textContent = failure.message;
      this.#$(".again").hidden = !failure.again;
    }
    const kind = /\.(\w{1,5})$/.exec(name)?.[1].toUpperCase() ?? "these";
    this.#$(".unshown").textContent = done ? `This browser shows no ${kind} files` : "No preview";
    if (done) this.#renderCaption();
  }

  #renderCaption() {
    const { caption, text, source } = this.#photo;
    const attention = caption.words?.length > 0 && caption.words.every((word) => word.attention);
    const looks = source === "model" && attention;
    const plain = this.#$(".text");
    this.#words ??= attention && new Words(
      this.#$(".words"), this.#$(".looked"), caption.words,
      overlay(this.#$("img"), this.#$("canvas"), caption.words, this.#preprocessing),
    );
    this.#$(".words").hidden = !looks;
    this.#$(".looked").hidden = !looks;
    // Where the words are buttons, the caption as a sentence is the picture's alternative text: a
    // screen reader says it once. Without a picture it is there unseen.
    this.#$("img").alt = looks ? text : "";
    plain.textContent = text || "No text: screen readers will pass over this photo.";
    plain.classList.toggle("none", !text);
    plain.classList.toggle("hidden", looks);
    plain.hidden = looks && !this.#$("img").hidden;
    this.#renderConfidence();
    this.#renderOthers();
  }

  #renderConfidence() {
    const { caption, source } = this.#photo;
    const ten = this.#$(".ten");
    const line = this.#$(".sure");
    line.hidden = source === "model" && caption.confidence === null;
    if (line.hidden) return;
    let said = { level: "yours", words: "Your choice", meaning: "One of the model's other suggestions." };
    if (source === "yours") said = { level: "yours", words: "Your words", meaning: "" };
    if (source === "model") said = confidenceInWords(caption.confidence);
    line.dataset.level = said.level;
    line.querySelector("use").setAttribute("href", `#icon-${said.level}`);
    line.querySelector("strong").textContent = said.words;
    line.querySelector(".meaning").textContent = said.meaning;
    ten.hidden = source !== "model";
    ten.replaceChildren(...Array.from({ length: 10 }, (_, place) => {
      const dot = document.createElement("i");
      dot.classList.toggle("good", place < said.ten);
      return dot;
    }));
  }

  #renderOthers() {
    const others = this.#photo.suggestions.filter((other) => other.text !== this.#photo.text);
    this.#$(".others").hidden = others.length === 0;
    this.#$(".others ul").replaceChildren(...others.map(({ text }) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.setAttribute("aria-label", `Use: ${text}`);
      button.addEventListener("click", () => this.#choose(text));
      item.append(button);
      return item;
    }));
  }

  #choose(text) {
    const buttons = [...this.element.querySelectorAll(".others button")];
    const place = buttons.indexOf(document.activeElement);
    this.#photo.change(text);
    this.render();
    this.element.querySelectorAll(".others button")[place]?.focus();
    this.#act.changed();
    this.#act.say(`Caption is now: ${text}`);
  }

  #listen() {
    const edit = this.#$(".edit");
    const area = edit.querySelector("textarea");
    this.#$(".again").addEventListener("click", () => this.#act.again(this));
    this.#$(".remove").addEventListener("click", () => this.#act.remove(this));
    this.#$(".change").addEventListener("click", () => this.#edit(true));
    this.#$(".cancel").addEventListener("click", () => this.#edit(false));
    edit.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#photo.change(area.value.replace(/\s+/g, " ").trim());
      this.render();
      this.#edit(false);
      this.#act.changed();
      this.#act.say("Saved");
    });
    area.addEventListener("keydown", (event) => {
      if (event.isComposing) return; // Enter and Escape belong to the input method
      if (event.key === "Enter") {
        event.preventDefault();
        edit.requestSubmit();
      } else if (event.key === "Escape") this.#edit(false);
    });
    for (const button of this.element.querySelectorAll(".copy button")) {
      button.addEventListener("click", () => this.#copy(button));
    }
  }

  #edit(on) {
    const edit = this.#$(".edit");
    edit.hidden = !on;
    this.element.classList.toggle("editing", on);
    if (!on) {
      this.#$(".change").focus();
      return;
    }
    const area = edit.querySelector("textarea");
    area.value = this.#photo.text;
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }

  async #copy(button) {
    const { form } = button.dataset;
    if (!(await copy(FORMS[form](this.#photo.name, this.#photo.text)))) {
      this.#act.say("The browser did not allow copying.", true);
      return;
    }
    this.#photo.kept = true;
    this.#act.say(`Copied as ${FORM_NAMES[form]}`);
    button.textContent = "Copied";
    button.classList.add("copied");
    setTimeout(() => {
      button.textContent = FORM_NAMES[form];
      button.classList.remove("copied");
    }, COPIED);
  }
}
