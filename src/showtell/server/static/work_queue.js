// Work on a few items at a time, in the order in which they came.

export class Queue {
  #work;
  #most;
  #waiting = [];
  #running = new Map(); // item -> AbortController

  /** `work(item, signal)` is run for each item, for `most` of them at once. It must not throw. */
  constructor(work, most) {
    this.#work = work;
    this.#most = most;
  }

  add(item) {
    this.#waiting.push(item);
    this.#next();
  }

  /** Forget an item; work on it is called off. */
  remove(item) {
    this.#waiting = this.#waiting.filter((other) => other !== item);
    this.#running.get(item)?.abort();
  }

  #next() {
    while (this.#waiting.length && this.#running.size < this.#most) {
      const item = this.#waiting.shift();
      const control = new AbortController();
      this.#running.set(item, control);
      this.#work(item, control.signal).finally(() => {
        // An item that was called off and came back has a controller of its own.
        if (this.#running.get(item) === control) this.#running.delete(item);
        this.#next();
      });
    }
  }
}
