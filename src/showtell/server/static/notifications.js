// Messages of the page: for screen readers only, or also visible in a notice at the bottom.

const ANNOUNCE_DELAY = 250; // milliseconds: messages in this time are read out together
const NOTICE_TIME = 7000; // milliseconds

const liveRegion = document.querySelector("#live-region");
const notice = document.querySelector("#notice");
const noticeText = document.querySelector("#notice-text");
const undoButton = document.querySelector("#undo");

let queuedMessages = [];
let hideTimer = 0;

/** Tell screen readers a message. */
export function announce(message) {
  if (!queuedMessages.length) {
    setTimeout(() => {
      liveRegion.textContent = queuedMessages.join(". ");
      queuedMessages = [];
    }, ANNOUNCE_DELAY);
  }
  queuedMessages.push(message);
  liveRegion.textContent = "";
}

/** Show a notice, which screen readers read out too.
 *
 * With an `undo` function it stays until the user undoes or dismisses it.
 */
export function showNotice(message, undo = null) {
  clearTimeout(hideTimer);
  notice.hidden = false;
  noticeText.textContent = message;
  undoButton.hidden = !undo;
  undoButton.onclick = () => { hideNotice(); undo(); };
  if (!undo) hideTimer = setTimeout(hideNotice, NOTICE_TIME);
}

export function hideNotice() {
  clearTimeout(hideTimer);
  notice.hidden = true;
  noticeText.textContent = "";
  undoButton.onclick = null;
}

document.querySelector("#dismiss").addEventListener("click", hideNotice);
