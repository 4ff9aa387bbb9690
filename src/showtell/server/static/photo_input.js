// Photos that the user chooses, drops (also in folders) or pastes.

const PHOTO_NAME = /\.(jpe?g|jpe|jfif|mpo|a?png|webp|gif|bmp|dib|tiff?|avif|hei[cf])$/i;

/** Call `onPhotos(files)` for each set of files, and `onNoPhotos(message)` if there were none. */
export function listenForPhotos({ input, onPhotos, onNoPhotos }) {
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = ""; // so that the user can choose the same photo again
    if (files.length) onPhotos(files);
  });

  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) {
      event.preventDefault();
      onPhotos(files.map(renamePasted));
    } else if (!event.target.closest?.("textarea, input")) {
      onNoPhotos("There is no photo in the clipboard.");
    }
  });

  let depth = 0; // nested elements that the pointer has entered
  const setDepth = (newDepth) => {
    depth = newDepth;
    document.body.classList.toggle("dragging", depth > 0);
  };
  const holdsFiles = (event) => event.dataTransfer.types.includes("Files");
  document.addEventListener("dragenter", (event) => {
    if (holdsFiles(event)) setDepth(depth + 1);
  });
  document.addEventListener("dragleave", (event) => {
    if (holdsFiles(event)) setDepth(Math.max(0, depth - 1));
  });
  // The browser handles text that is dragged into a text field.
  const isTextDrag = (event) => !holdsFiles(event) && event.target.closest?.("textarea, input");
  document.addEventListener("dragover", (event) => {
    if (isTextDrag(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  document.addEventListener("drop", async (event) => {
    if (isTextDrag(event)) return;
    event.preventDefault(); // otherwise the browser opens the photo instead of the page
    setDepth(0);
    const isLink = !holdsFiles(event) && event.dataTransfer.types.includes("text/uri-list");
    const files = await droppedFiles(event.dataTransfer);
    if (files.length) onPhotos(files);
    else if (isLink) {
      onNoPhotos("That was a link. Save the photo first, then drop the file.");
    } else onNoPhotos("There were no photos in what you dropped.");
  });
}

/** The dropped files, and the photos in dropped folders. */
async function droppedFiles(data) {
  // Read both lists before the first await: the browser empties them afterwards.
  const files = [...data.files];
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return files;
  const filesPerEntry = await Promise.all(entries.map((entry) => filesOf(entry, true)));
  return filesPerEntry.flat();
}

/** The files of an entry; in a folder (not `dropped` itself) only visible files that are photos. */
async function filesOf(entry, dropped) {
  if (entry.isFile) {
    if (!dropped && (!PHOTO_NAME.test(entry.name) || entry.name.startsWith("."))) return [];
    return new Promise((resolve) => entry.file((file) => resolve([file]), () => resolve([])));
  }
  const reader = entry.createReader();
  const children = [];
  for (;;) { // a reader returns at most a hundred entries at a time
    const batch = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!batch.length) break;
    children.push(...batch);
  }
  children.sort((a, b) => a.name.localeCompare(b.name));
  const photos = [];
  for (const child of children) photos.push(...(await filesOf(child, false)));
  return photos;
}

/** Give a pasted picture a clearer name; browsers call all of them image.png. */
function renamePasted(file) {
  const isPasted = /^image\.\w+$/.test(file.name);
  return isPasted ? new File([file], `pasted-${file.name}`, { type: file.type }) : file;
}
