// Sends a photo to the service and returns its caption; waits while the service is busy.

// Relative to this file, because a proxy may serve the page below a path prefix.
const CAPTIONS_URL = new URL("../v1/captions?nbest=3&words=true", import.meta.url);
const FORM_OVERHEAD = 2000; // bytes that a form adds to its photo, at most
const BUSY_STATUSES = [429, 503];
const MAX_WAIT = 30; // seconds
const MAX_BUSY_RESPONSES = 60;
const MAX_NETWORK_FAILURES = 3;

/** Why a photo has no caption: a message for the user, and whether a new attempt may help. */
export class CaptionFailure extends Error {
  constructor(message, retryable = false) {
    super(message);
    this.retryable = retryable;
  }
}

export class CaptionService {
  #apiKey;
  #maxBytes;
  #busyUntil = 0; // on the clock of performance.now()

  /** `apiKey` stores the API key and can request it; `maxBytes` is the largest request. */
  constructor(apiKey, maxBytes) {
    this.#apiKey = apiKey;
    this.#maxBytes = maxBytes;
  }

  /** Caption a file. Calls `onProgress(busy)` before each request and each wait.
   *
   * Throws CaptionFailure, or the reason of `signal` when it is aborted.
   */
  async caption(file, signal, onProgress) {
    const body = await this.#form(file);
    let busyResponses = 0;
    let networkFailures = 0;
    for (;;) {
      if (this.#busyUntil > performance.now()) {
        onProgress(true);
        await this.#waitWhileBusy(signal);
      }
      signal.throwIfAborted();
      onProgress(false);
      const key = this.#apiKey.value;
      const response = await post(body, key, signal);
      if (response === null) {
        networkFailures += 1;
        if (networkFailures === MAX_NETWORK_FAILURES) {
          throw new CaptionFailure("The service does not respond. Is it still running?", true);
        }
        this.#pause(networkFailures);
      } else if (response.status === 401) {
        if (await this.#apiKey.request(key, signal)) continue;
        throw new CaptionFailure("The service needs an API key.", true);
      } else if (BUSY_STATUSES.includes(response.status) && busyResponses < MAX_BUSY_RESPONSES) {
        busyResponses += 1;
        this.#pause(Number(response.headers.get("Retry-After")) || 1);
      } else if (response.ok) {
        return await parseCaption(response);
      } else {
        throw new CaptionFailure(await problemDetail(response), true);
      }
    }
  }

  async #form(file) {
    if (file.size + FORM_OVERHEAD > this.#maxBytes) {
      const limit = `this service accepts up to ${megabytes(this.#maxBytes)} MB`;
      throw new CaptionFailure(`${file.name}: the photo has ${megabytes(file.size)} MB, ${limit}`);
    }
    const form = new FormData(); // a form has a file name, which error messages need
    form.append("photos", await readFile(file), file.name);
    return form;
  }

  /** Send no request for some seconds, plus some jitter because other pages wait as well. */
  #pause(seconds) {
    const wait = Math.min(seconds, MAX_WAIT) * (1 + 0.2 * Math.random());
    this.#busyUntil = Math.max(this.#busyUntil, performance.now() + 1000 * wait);
  }

  async #waitWhileBusy(signal) {
    for (;;) {
      signal.throwIfAborted();
      const wait = this.#busyUntil - performance.now();
      if (wait <= 0) return;
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, wait);
        signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
      });
    }
  }
}

/** Send the request; returns null if the service cannot be reached. */
async function post(body, key, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  try {
    return await fetch(CAPTIONS_URL, { method: "POST", body, headers, signal });
  } catch {
    signal.throwIfAborted();
    return null;
  }
}

function megabytes(bytes) {
  return (bytes / 1e6).toPrecision(2).replace(/\.0$/, "");
}

/** Read the file once: it may change or disappear before the last attempt. */
async function readFile(file) {
  try {
    return new Blob([await file.arrayBuffer()], { type: file.type || "application/octet-stream" });
  } catch {
    throw new CaptionFailure(`${file.name}: cannot read the file. Was it moved or changed?`, true);
  }
}

/** The detail of a problem document, or a general message if there is none. */
async function problemDetail(response) {
  const problem = await response.json().catch(() => ({}));
  return problem.detail || problem.title || `The service returned status ${response.status}.`;
}

async function parseCaption(response) {
  const caption = (await response.json().catch(() => null))?.captions?.[0];
  if (!caption) throw new CaptionFailure("The service returned an invalid response.", true);
  if (caption.error) throw new CaptionFailure(caption.error);
  return caption;
}
