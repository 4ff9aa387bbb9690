// The API key: requested when the service needs one, and stored for this tab only.

const STORAGE_KEY = "showtell-key";

export class ApiKey {
  #dialog;
  #openDialog = null; // a promise while the dialog is open

  constructor(dialog) {
    this.#dialog = dialog;
  }

  get value() {
    return sessionStorage.getItem(STORAGE_KEY);
  }

  /** Ask the user for a key to replace the `refused` one; returns false if they cancel.
   *
   * All waiting photos share one dialog. Aborting `signal` ends the wait, not the dialog.
   */
  async request(refused, signal) {
    if (this.value !== refused) return true; // the user has entered a key for another photo
    this.#openDialog ??= this.#ask(refused !== null).finally(() => { this.#openDialog = null; });
    const aborted = new Promise((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    return Promise.race([this.#openDialog, aborted]);
  }

  #ask(wasRefused) {
    const dialog = this.#dialog;
    const input = dialog.querySelector("#key-value");
    dialog.querySelector("#key-refused").hidden = !wasRefused;
    input.setAttribute("aria-invalid", String(wasRefused));
    input.value = "";
    dialog.returnValue = "";
    dialog.showModal();
    input.focus();
    return new Promise((resolve) => {
      const listeners = new AbortController();
      const { signal } = listeners;
      const cancel = dialog.querySelector("#key-cancel");
      cancel.addEventListener("click", () => dialog.close(""), { signal });
      dialog.querySelector("form").addEventListener("submit", (event) => {
        event.preventDefault();
        const key = input.value.trim();
        if (!key) return;
        sessionStorage.setItem(STORAGE_KEY, key);
        dialog.close("entered");
      }, { signal });
      dialog.addEventListener("close", () => {
        listeners.abort();
        input.value = "";
        resolve(dialog.returnValue === "entered");
      }, { signal });
    });
  }
}
