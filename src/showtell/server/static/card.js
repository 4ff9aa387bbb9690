// The card of one photo: its progress, its caption with all actions, or its error.

import { AttentionOverlay } from "./attention.js";
import { asHtml, asList, asMarkdown } from "./caption_formats.js";
import { CaptionWords } from "./caption_words.js";
import { copy } from "./clipboard.js";
import { describeConfidence } from "./confidence.js";
import { KeywordChips } from "./keyword_chips.js";

const COPIED_TIME = 1600; // milliseconds that a copy button says "Copied"
const COPY_FORMATS = {
  text: { label: "Text", format: ({ text }) => text },
  html: { label: "HTML", format: ({ name, text }) => asHtml(name, text) },
  markdown: { label: "Markdown", format: ({ name, text }) => asMarkdown(name, text) },
  keywords: { label: "Copy keywords", format: ({ chosenKeywords }) => asList(chosenKeywords) },
};
const FILE_EXTENSION = /\.(\w{1,5})$/;

export class Card {
  #photo;
  #actions;
  #preprocessing;
  #imageUrl;
  #words = null;
  #chips = null;

  /** `actions` are the page's: retry(card), remove(card), changed(), announce and showNotice. */
  constructor(photo, preprocessing, actions) {
    this.#photo = photo;
    this.#preprocessing = preprocessing;
    this.#actions = actions;
    this.element = document.querySelector("#card").content.firstElementChild.cloneNode(true);
    this.element.querySelector(".name").textContent = photo.name;
    this.element.querySelector("article").setAttribute("aria-label", photo.name);
    this.#$(".edit textarea").setAttribute("aria-label", `Caption of ${photo.name}`);
    this.#$(".remove").setAttribute("aria-label", `Remove ${photo.name}`);
    this.#addListeners();
    this.showPhoto();
    this.render();
  }

  get photo() {
    return this.#photo;
  }

  #$(selector) {
    return this.element.querySelector(selector);
  }

  /** Load the photo; call it when the card is put on the page. */
  showPhoto() {
    const image = this.#$("img");
    this.#imageUrl = URL.createObjectURL(this.#photo.file);
    image.addEventListener("error", () => this.#showNoPreview(), { once: true });
    image.src = this.#imageUrl;
  }

  /** Free the photo's memory; call it when the card is taken off the page. */
  hidePhoto() {
    URL.revokeObjectURL(this.#imageUrl);
  }

  /** Not every browser can show HEIC and TIFF, but the model can read them. */
  #showNoPreview() {
    this.#$("img").hidden = true;
    this.#$(".no-preview").hidden = false;
    this.render();
  }

  /** Say whether the model looks at the photo, or the service is too busy. */
  showProgress(busy) {
    this.#$(".state").textContent = busy ? "The service is busy: waiting" : "Looking at the photo";
  }

  focus() {
    this.#$(".name").focus();
  }

  /** Show the current state of the photo. */
  render() {
    const { state, failure, name } = this.#photo;
    const done = state === "done";
    this.element.dataset.state = state;
    this.#$("article").setAttribute("aria-busy", String(state === "waiting" || state === "working"));
    this.#$(".working").hidden = done || state === "failed";
    if (state === "waiting") this.#$(".state").textContent = "Waiting its turn";
    this.#$(".failed").hidden = state !== "failed";
    this.#$(".result").hidden = !done;
    this.#$(".edit-button").hidden = !done;
    this.#$(".copy").hidden = !done;
    if (state === "failed") {
      this.#$(".reason").textContent = failure.message;
      this.#$(".retry").hidden = !failure.retryable;
    }
    const extension = FILE_EXTENSION.exec(name)?.[1].toUpperCase();
    const kind = extension ? `${extension} files` : "this file";
    this.#$(".no-preview").textContent = done ? `This browser cannot show ${kind}` : "No preview";
    if (done) this.#renderCaption();
  }

  #renderCaption() {
    const { caption, text, source } = this.#photo;
    const hasAttention = caption.words?.length > 0 && caption.words.every((word) => word.attention);
    const showWords = source === "model" && hasAttention;
    const sentence = this.#$(".text");
    this.#words ??= hasAttention && new CaptionWords(
      this.#$(".words"), this.#$(".attention-note"), caption.words,
      new AttentionOverlay(this.#$("img"), this.#$("canvas"), this.#preprocessing),
    );
    this.#$(".words").hidden = !showWords;
    this.#$(".attention-note").hidden = !showWords;
    // If the words are buttons, the sentence is only the image's alt text, so that screen readers
    // read it once. Without an image it is a visually hidden text.
    this.#$("img").alt = showWords ? text : "";
    sentence.textContent = text || "No caption: screen readers will skip this photo.";
    sentence.classList.toggle("empty", !text);
    sentence.classList.toggle("visually-hidden", showWords);
    sentence.hidden = showWords && !this.#$("img").hidden;
    this.#renderConfidence();
    this.#renderKeywords();
    this.#renderSuggestions();
  }

  #renderKeywords() {
    this.#chips ??= new KeywordChips(this.#$(".keywords ul"), this.#photo, () => {
      this.#renderKeywords();
      this.#actions.changed();
    });
    this.#$(".keywords").hidden = this.#chips.isEmpty;
    this.#$(".keywords .copy-keywords").disabled = this.#photo.keywords.size === 0;
  }

  #renderConfidence() {
    const { caption, source } = this.#photo;
    const row = this.#$(".confidence");
    row.hidden = source === "model" && caption.confidence === null;
    if (row.hidden) return;
    const { level, title, meaning, goodOfTen } = this.#confidence();
    row.dataset.level = level;
    row.querySelector("use").setAttribute("href", `#icon-${level}`);
    row.querySelector("strong").textContent = title;
    row.querySelector(".meaning").textContent = meaning;
    const dots = this.#$(".confidence-dots");
    dots.hidden = source !== "model";
    dots.replaceChildren(...Array.from({ length: 10 }, (_, index) => {
      const dot = document.createElement("i");
      dot.classList.toggle("good", index < goodOfTen);
      return dot;
    }));
  }

  #confidence() {
    const { caption, source } = this.#photo;
    if (source === "model") return describeConfidence(caption.confidence);
    if (source === "user") return { level: "user", title: "Your words", meaning: "" };
    return { level: "user", title: "Your choice", meaning: "One of the model's other suggestions." };
  }

  #renderSuggestions() {
    const others = this.#photo.suggestions.filter((other) => other.text !== this.#photo.text);
    this.#$(".suggestions").hidden = others.length === 0;
    this.#$(".suggestions ul").replaceChildren(...others.map(({ text }) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.setAttribute("aria-label", `Use: ${text}`);
      button.addEventListener("click", () => this.#chooseSuggestion(text));
      item.append(button);
      return item;
    }));
  }

  #chooseSuggestion(text) {
    const buttons = [...this.element.querySelectorAll(".suggestions button")];
    const index = buttons.indexOf(document.activeElement);
    this.#photo.setText(text);
    this.render();
    this.element.querySelectorAll(".suggestions button")[index]?.focus();
    this.#actions.changed();
    this.#actions.announce(`Caption is now: ${text}`);
  }

  #addListeners() {
    const form = this.#$(".edit");
    const area = form.querySelector("textarea");
    this.#$(".retry").addEventListener("click", () => this.#actions.retry(this));
    this.#$(".remove").addEventListener("click", () => this.#actions.remove(this));
    this.#$(".edit-button").addEventListener("click", () => this.#openEditor());
    this.#$(".cancel").addEventListener("click", () => this.#closeEditor());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#saveText(area.value);
    });
    area.addEventListener("keydown", (event) => {
      if (event.isComposing) return; // Enter and Escape belong to the input method
      if (event.key === "Enter") {
        event.preventDefault();
        form.requestSubmit();
      } else if (event.key === "Escape") this.#closeEditor();
    });
    for (const button of this.element.querySelectorAll("[data-format]")) {
      button.addEventListener("click", () => this.#copy(button));
    }
  }

  #openEditor() {
    this.#$(".edit").hidden = false;
    this.element.classList.add("editing");
    const area = this.#$(".edit textarea");
    area.value = this.#photo.text;
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }

  #closeEditor() {
    this.#$(".edit").hidden = true;
    this.element.classList.remove("editing");
    this.#$(".edit-button").focus();
  }

  #saveText(text) {
    this.#photo.setText(text.replace(/\s+/g, " ").trim());
    this.render();
    this.#closeEditor();
    this.#actions.changed();
    this.#actions.announce("Saved");
  }

  async #copy(button) {
    const { label, format } = COPY_FORMATS[button.dataset.format];
    if (!(await copy(format(this.#photo)))) {
      this.#actions.showNotice("The browser did not allow copying.");
      return;
    }
    this.#photo.saved = true;
    this.#actions.announce(button.dataset.format === "keywords" ? "Copied" : `Copied as ${label}`);
    button.textContent = "Copied";
    button.classList.add("copied");
    setTimeout(() => {
      button.textContent = label;
      button.classList.remove("copied");
    }, COPIED_TIME);
  }
}
