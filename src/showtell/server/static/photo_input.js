// Photos come in: chosen, dropped (folders too), or pasted.

const PHOTO = /\.(jpe?g|jpe|jfif|mpo|a?png|webp|gif|bmp|dib|tiff?|avif|hei[cf])$/i;

/** Call `take(files)` with each set of photos, and `say(text)` where there were none in it. */
export function listen({ input, take, say }) {
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = ""; // so that the same photo can be chosen again
    if (files.length) take(files);
  });

  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) {
      event.preventDefault();
      take(files.map(named));
    } else if (!event.target.closest?.("textarea, input")) {
      say("There is no photo in the clipboard.");
    }
  });

  let depth = 0; // how many nested elements the pointer has entered
  const dragging = (now) => {
    depth = now;
    document.body.classList.toggle("dragging", depth > 0);
  };
  const holdsFiles = (event) => event.dataTransfer.types.includes("Files");
  document.addEventListener("dragenter", (event) => {
    if (holdsFiles(event)) dragging(depth + 1);
  });
  document.addEventListener("dragleave", (event) => {
    if (holdsFiles(event)) dragging(Math.max(0, depth - 1));
  });
  // words that are dragged into a field are the browser's business
  const isText = (event) => !holdsFiles(event) && event.target.closest?.("textarea, input");
  document.addEventListener("dragover", (event) => {
    if (isText(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  document.addEventListener("drop", async (event) => {
    if (isText(event)) return;
    event.preventDefault(); // or the browser would leave the page for the photo
    dragging(0);
    const link = !holdsFiles(event) && event.dataTransfer.types.includes("text/uri-list");
    const files = await dropped(event.dataTransfer);
    if (files.length) take(files);
    else if (link) {
      say("That was a link. Save the photo first, then drop the file.");
    } else say("There was no photo in what you dropped.");
  });
}

/** The files of a drop: those dropped themselves whatever they are, of folders the photos. */
async function dropped(data) {
  // Both lists are gone once this function has waited for anything.
  const files = [...data.files];
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return files;
  const found = await Promise.all(entries.map((entry) => filesOf(entry, true)));
  return found.flat();
}

async function filesOf(entry, direct) {
  if (entry.isFile) {
    if (!direct && (!PHOTO.test(entry.name) || entry.name.startsWith("."))) return [];
    return new Promise((resolve) => entry.file((file) => resolve([file]), () => resolve([])));
  }
  const reader = entry.createReader();
  const inside = [];
  for (;;) { // a reader gives a hundred entries at a time
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!some.length) break;
    inside.push(...some);
  }
  inside.sort((a, b) => a.name.localeCompare(b.name));
  const found = [];
  for (const inner of inside) found.push(...(await filesOf(inner, false)));
  return found;
}

/** Browsers call every pasted picture the same. */
function named(file) {
  const pasted = /^image\.\w+$/.test(file.name);
  return pasted ? new File([file], `pasted-${file.name}`, { type: file.type }) : file;
}
