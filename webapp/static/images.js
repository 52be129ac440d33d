// Pictures dropped or pasted go into the form's field; what is chosen is shown. Without a script the field is enough.

const form = document.querySelector("[data-drop]");
const field = form.querySelector("input[multiple]");
const previews = form.querySelector(".previews");
const SIDE = 120;

/** Put files into the field, beside those that are there. */
function add(files) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/"));
  if (!pictures.length) return;
  const chosen = new DataTransfer();
  for (const file of [...field.files, ...pictures]) chosen.items.add(file);
  field.files = chosen.files;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

/** Show what is chosen, small; what this browser cannot draw by its name. */
async function show() {
  const files = [...form.querySelectorAll("input[type=file]")].flatMap((input) => [...input.files]);
  previews.hidden = files.length === 0;
  previews.replaceChildren(...(await Promise.all(files.map(preview))));
}

async function preview(file) {
  const item = document.createElement("li");
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (bitmap) {
    const canvas = document.createElement("canvas");
    const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    canvas.setAttribute("aria-hidden", "true");
    item.append(canvas);
    bitmap.close();
  }
  const name = document.createElement("span");
  name.textContent = file.name;
  item.append(name);
  return item;
}

for (const kind of ["dragenter", "dragover"]) {
  form.addEventListener(kind, (event) => {
    event.preventDefault();
    form.classList.add("is-over");
  });
}
for (const kind of ["dragleave", "drop"]) form.addEventListener(kind, () => form.classList.remove("is-over"));
form.addEventListener("drop", (event) => {
  event.preventDefault();
  add(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (!event.clipboardData?.files.length) return;
  event.preventDefault();
  add(event.clipboardData.files);
});
form.addEventListener("input", (event) => event.target.type === "file" && show());
for (const hint of form.querySelectorAll("[data-scripted]")) hint.hidden = false;
show(); // a page that is gone back to still has its files
