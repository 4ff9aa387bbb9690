// A photo on the page: its file, the model's caption, and the user's changes to it.

const SURE = 0.5; // keywords with a higher probability are on at first

export class Photo {
  state = "waiting"; // or "working", "done", "failed"
  caption = null; // the record that the service returned
  text = ""; // the model's caption, a suggestion, or the user's own text
  keywords = new Set(); // the words of the keywords that are copied and downloaded
  failure = null;
  saved = true; // false while a change by the user is neither copied nor downloaded

  constructor(file) {
    this.file = file;
  }

  get name() {
    return this.file.name;
  }

  setCaption(caption) {
    this.state = "done";
    this.caption = caption;
    this.text = caption.text;
    const sure = caption.keywords.filter((keyword) => keyword.probability > SURE);
    this.keywords = new Set(sure.map((keyword) => keyword.word));
  }

  setFailure(failure) {
    this.state = "failed";
    this.failure = failure;
  }

  /** Replace the text by a suggestion or by the user's own words. */
  setText(text) {
    this.text = text;
    this.saved = this.source === "model";
  }

  /** Turn a keyword on, or off. */
  toggleKeyword(word) {
    if (!this.keywords.delete(word)) this.keywords.add(word);
    this.saved = false;
  }

  /** The keywords that are on, most probable first. */
  get chosenKeywords() {
    return this.caption.keywords.filter((keyword) => this.keywords.has(keyword.word));
  }

  /** All captions of the model, best first. */
  get suggestions() {
    const { text, log_probability, confidence, alternatives } = this.caption;
    const others = alternatives.map((other) => ({ ...other, confidence: null }));
    return [{ text, log_probability, confidence }, ...others];
  }

  /** Where the text comes from: "model" (its best caption), "suggestion" or "user". */
  get source() {
    if (this.text === this.caption.text) return "model";
    return this.suggestions.some((other) => other.text === this.text) ? "suggestion" : "user";
  }

  /** The caption as a record of `showtell caption --format jsonl --keywords`.
   *
   * The user's own text has no numbers. Keywords that are off are left out.
   */
  record() {
    if (this.state === "failed") {
      return {
        path: this.name, text: null, log_probability: null, confidence: null, alternatives: [],
        error: this.failure.message, keywords: [],
      };
    }
    const chosen = this.suggestions.find((other) => other.text === this.text);
    return {
      path: this.name,
      text: this.text,
      log_probability: chosen?.log_probability ?? null,
      confidence: chosen?.confidence ?? null,
      alternatives: this.suggestions
        .filter((other) => other.text !== this.text)
        .map(({ text, log_probability }) => ({ text, log_probability })),
      error: null,
      keywords: this.chosenKeywords,
    };
  }
}
