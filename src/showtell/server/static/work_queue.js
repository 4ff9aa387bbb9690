// Runs an async function for each item in order, a few items at a time.

export class WorkQueue {
  #work;
  #limit;
  #waiting = [];
  #running = new Map(); // item -> AbortController

  /** Calls `work(item, signal)`, which must not throw, for at most `limit` items at a time. */
  constructor(work, limit) {
    this.#work = work;
    this.#limit = limit;
  }

  add(item) {
    this.#waiting.push(item);
    this.#startNext();
  }

  /** Remove an item, and abort the work on it. */
  remove(item) {
    this.#waiting = this.#waiting.filter((other) => other !== item);
    this.#running.get(item)?.abort();
  }

  #startNext() {
    while (this.#waiting.length && this.#running.size < this.#limit) {
      const item = this.#waiting.shift();
      const controller = new AbortController();
      this.#running.set(item, controller);
      this.#work(item, controller.signal).finally(() => {
        // An item that was removed and added again has a new controller.
        if (this.#running.get(item) === controller) this.#running.delete(item);
        this.#startNext();
      });
    }
  }
}
