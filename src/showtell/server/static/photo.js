// A photo on the page: its file, the model's caption, and the user's changes to it.

export class Photo {
  state = "waiting"; // or "working", "done", "failed"
  caption = null; // the record that the service returned
  text = ""; // the model's caption, a suggestion, or the user's own text
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

  /** The caption as a record of `showtell caption --format jsonl`.
   *
   * The user's own text has no numbers.
   */
  record() {
    if (this.state === "failed") {
      return {
        path: this.name, text: null, log_probability: null, confidence: null, alternatives: [],
        error: this.failure.message,
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
    };
  }
}
