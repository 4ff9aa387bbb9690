// One photo to the service, one caption back, with patience where the service is busy.

const ADDRESS = "/v1/captions?nbest=3&words=true";
const FORM = 2000; // bytes at most that a form puts around its photo
const BUSY = [429, 503];
const LONGEST_WAIT = 30; // seconds
const MOST_WAITS = 60;
const UNANSWERED = 3;

/** Why a photo has no caption: a line for the person, and whether to try again may help. */
export class Failure extends Error {
  constructor(message, again = false) {
    super(message);
    this.again = again;
  }
}

export class Service {
  #key;
  #maxBytes;
  #free = 0; // when the service may be asked again

  /** `key` knows the API key or asks for it; `maxBytes` is the largest request. */
  constructor(key, maxBytes) {
    this.#key = key;
    this.#maxBytes = maxBytes;
  }

  /** Caption a file, calling `tell(busy)` when the service is asked or must be waited for.
   *
   * Throws Failure, or what `signal` was aborted with.
   */
  async caption(file, signal, tell) {
    if (file.size + FORM > this.#maxBytes) {
      const limit = `this service takes photos of up to ${megabytes(this.#maxBytes)} MB`;
      throw new Failure(`${file.name}: ${megabytes(file.size)} MB, and ${limit}`);
    }
    const body = new FormData(); // and not the photo alone, so that errors name it
    body.append("photos", await contents(file), file.name);
    let waits = 0;
    let unanswered = 0;
    for (;;) {
      if (this.#free > performance.now()) {
        tell(true);
        await this.#turn(signal);
      }
      signal.throwIfAborted();
      tell(false);
      const key = this.#key.value;
      const headers = key ? { Authorization: `Bearer ${key}` } : {};
      let answer;
      try {
        answer = await fetch(ADDRESS, { method: "POST", body, headers, signal });
      } catch {
        signal.throwIfAborted();
        unanswered += 1;
        if (unanswered === UNANSWERED) {
          throw new Failure("The service does not answer. Is it still running?", true);
        }
        this.#hold(unanswered);
        continue;
      }
      if (answer.status === 401) {
        if (await this.#key.ask(key, signal)) continue;
        throw new Failure("The service asks for an API key.", true);
      }
      if (BUSY.includes(answer.status) && waits < MOST_WAITS) {
        waits += 1;
        this.#hold(Number(answer.headers.get("Retry-After")) || 1);
        continue;
      }
      if (!answer.ok) throw new Failure(await reason(answer), true);
      return await captionOf(answer);
    }
  }

  /** Ask nothing for so many seconds, and a little longer, as others wait for the same. */
  #hold(seconds) {
    const wait = Math.min(seconds, LONGEST_WAIT) * (1 + 0.2 * Math.random());
    this.#free = Math.max(this.#free, performance.now() + 1000 * wait);
  }

  async #turn(signal) {
    for (;;) {
      signal.throwIfAborted();
      const wait = this.#free - performance.now();
      if (wait <= 0) return;
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, wait);
        signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
      });
    }
  }
}

function megabytes(bytes) {
  return (bytes / 1e6).toPrecision(2).replace(/\.0$/, "");
}

/** The photo's bytes, read once: a file may change or go before the last attempt. */
async function contents(file) {
  try {
    return new Blob([await file.arrayBuffer()], { type: file.type || "application/octet-stream" });
  } catch {
    throw new Failure(`${file.name}: the file cannot be read. Was it moved or changed?`, true);
  }
}

/** The line of a problem document, or one of our own where there is none. */
async function reason(answer) {
  const problem = await answer.json().catch(() => ({}));
  return problem.detail || problem.title || `The service answered ${answer.status}.`;
}

async function captionOf(answer) {
  const caption = (await answer.json().catch(() => null))?.captions?.[0];
  if (!caption) throw new Failure("The service's answer cannot be read.", true);
  if (caption.error) throw new Failure(caption.error);
  return caption;
}
