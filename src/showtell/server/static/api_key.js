// The service's API key: asked for when the service wants one, remembered by this tab only.

const STORED = "showtell-key";

export class Key {
  #dialog;
  #asking = null;

  constructor(dialog) {
    this.#dialog = dialog;
  }

  get value() {
    return sessionStorage.getItem(STORED);
  }

  /** Ask for a key in place of the `refused` one; false where the person gives none.
   *
   * However many photos wait, the question is put once. An aborted `signal` ends the wait only.
   */
  async ask(refused, signal) {
    if (this.value !== refused) return true; // another photo's question was answered meanwhile
    this.#asking ??= this.#answered(refused !== null).finally(() => { this.#asking = null; });
    const gone = new Promise((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    return Promise.race([this.#asking, gone]);
  }

  #answered(wrong) {
    const dialog = this.#dialog;
    const input = dialog.querySelector("#key-value");
    dialog.querySelector("#key-refused").hidden = !wrong;
    input.setAttribute("aria-invalid", String(wrong));
    input.value = "";
    dialog.returnValue = "";
    dialog.showModal();
    input.focus();
    return new Promise((resolve) => {
      const done = new AbortController();
      const { signal } = done;
      dialog.querySelector("#key-cancel").addEventListener("click", () => dialog.close(""), { signal });
      dialog.querySelector("form").addEventListener("submit", (event) => {
        event.preventDefault();
        const key = input.value.trim();
        if (!key) return;
        sessionStorage.setItem(STORED, key);
        dialog.close("given");
      }, { signal });
      dialog.addEventListener("close", () => {
        done.abort();
        input.value = "";
        resolve(dialog.returnValue === "given");
      }, { signal });
    });
  }
}
