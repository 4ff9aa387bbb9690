// What the page has to say: to screen readers, and where it must be seen, at the page's foot.

const SOON = 250; // milliseconds: what comes together is said together
const SEEN = 7000;

const spoken = document.querySelector("#spoken");
const notice = document.querySelector("#notice");
const text = document.querySelector("#notice-text");
const undo = document.querySelector("#undo");

let together = [];
let clearing = 0;

/** Tell a screen reader. */
export function say(words) {
  if (!together.length) {
    setTimeout(() => {
      spoken.textContent = together.join(". ");
      together = [];
    }, SOON);
  }
  together.push(words);
  spoken.textContent = "";
}

/** Show a note, which screen readers say too; one that offers to undo stays until it is answered. */
export function show(words, undoIt = null) {
  clearTimeout(clearing);
  notice.hidden = false;
  text.textContent = words;
  undo.hidden = !undoIt;
  undo.onclick = () => { dismiss(); undoIt(); };
  if (!undoIt) clearing = setTimeout(dismiss, SEEN);
}

export function dismiss() {
  clearTimeout(clearing);
  notice.hidden = true;
  text.textContent = "";
  undo.onclick = null;
}

document.querySelector("#dismiss").addEventListener("click", dismiss);
