// A photo on the page: its file, what the model said of it, and what the person made of that.

export class Photo {
  state = "waiting"; // or working, done, failed
  caption = null; // as the service gave it
  text = ""; // the model's, a suggestion, or the person's own
  failure = null;
  kept = true; // whether a change by the person has been copied or downloaded

  constructor(file) {
    this.file = file;
  }

  get name() {
    return this.file.name;
  }

  captioned(caption) {
    this.state = "done";
    this.caption = caption;
    this.text = caption.text;
  }

  failed(failure) {
    this.state = "failed";
    this.failure = failure;
  }

  /** Take another text: one of the suggestions or the person's own. */
  change(text) {
    this.text = text;
    this.kept = this.source === "model";
  }

  /** All captions that the model thought of, best first. */
  get suggestions() {
    const { text, log_probability, confidence, alternatives } = this.caption;
    const others = alternatives.map((other) => ({ ...other, confidence: null }));
    return [{ text, log_probability, confidence }, ...others];
  }

  /** Whose the text is: "model", "suggestion" or "yours". */
  get source() {
    if (this.text === this.caption.text) return "model";
    return this.suggestions.some((other) => other.text === this.text) ? "suggestion" : "yours";
  }

  /** The caption as a record of `showtell caption --format jsonl`; numbers only for the model's. */
  record() {
    if (this.state === "failed") {
      return {
        path: this.name, text: null, log_probability: null, confidence: null, alternatives: [],
        error: this.failure.message,
      };
    }
    const own = this.suggestions.find((other) => other.text === this.text);
    return {
      path: this.name,
      text: this.text,
      log_probability: own?.log_probability ?? null,
      confidence: own?.confidence ?? null,
      alternatives: this.suggestions
        .filter((other) => other.text !== this.text)
        .map(({ text, log_probability }) => ({ text, log_probability })),
      error: null,
    };
  }
}
