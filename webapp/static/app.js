// What the pages can do better with a script; every one of them works without.

const MARK = { "X-Requested-With": "fetch" };

/** Put the parts of an answer ([data-swap]) where the page has parts of the same id; say whether there were any. */
function swap(html) {
  const parts = new DOMParser().parseFromString(html, "text/html").querySelectorAll("[data-swap]");
  for (const part of parts) {
    for (const each of part.querySelectorAll("[autofocus]")) each.removeAttribute("autofocus"); // `lead` decides
    document.getElementById(part.id)?.replaceWith(part);
    const input = document.getElementById(part.dataset.for ?? "");
    if (part.classList.contains("error")) input?.setAttribute("aria-invalid", "true");
    else input?.removeAttribute("aria-invalid");
  }
  offerPrint();
  return parts.length > 0;
}

/** Show the buttons that nothing would answer without this script. */
function offerPrint() {
  for (const button of document.querySelectorAll("[data-print]")) button.hidden = false;
}

/** Lead the reader to what came: always to an error, to a result only if it is out of sight. */
function lead() {
  const found = document.querySelector("#problems [data-focus]") ?? document.querySelector("#result [data-focus]");
  if (!found) return;
  const { top, bottom } = found.getBoundingClientRect();
  const isSeen = top >= 0 && bottom <= window.innerHeight;
  if (found.closest("#problems") || !isSeen) found.focus({ preventScroll: false });
  if (found.closest("#problems")) return;
  const told = [found, document.querySelector("#result .probability")].map((part) => part?.textContent ?? "");
  const status = document.getElementById("status"); // not on a page that an older version of the app wrote
  if (status) status.textContent = told.join(" ").replace(/\s+/g, " ").trim();
}

function say(form, text) {
  const place = document.getElementById("problems");
  const box = Object.assign(document.createElement("p"), { className: "flash fail", textContent: text });
  box.setAttribute("role", "alert");
  place?.replaceChildren(box);
  place?.scrollIntoView({ block: "center" });
  form.removeAttribute("aria-busy");
}

async function send(form) {
  const button = form.querySelector("button.primary");
  form.setAttribute("aria-busy", "true");
  button.disabled = true;
  const html = await fetch(form.action, { method: "POST", body: new FormData(form), headers: MARK })
    .then((answer) => answer.text()).catch(() => null);
  form.removeAttribute("aria-busy");
  button.disabled = false;
  if (html === null) say(form, form.dataset.offline);
  else show(form, html);
}

/** Show an answer: its parts where it has some, or else the page that it is: signed out, too many requests, … */
function show(form, html) {
  if (swap(html)) lead();
  else form.submit();
}

/** Fill a form with texts by name; what was said of the old values goes. */
function fill(form, texts) {
  for (const input of form.querySelectorAll("input:not([type=hidden]), select")) {
    input.value = texts[input.name] ?? "";
    input.removeAttribute("aria-invalid");
  }
  for (const note of form.querySelectorAll("[data-for]")) note.replaceChildren();
  document.getElementById("problems")?.replaceChildren();
}

/** Upload a file with its progress shown, then that of the rows, which the server is asked for. */
function upload(form) {
  const box = document.getElementById("progress");
  const [bar, text] = [box.querySelector("progress"), box.querySelector("[data-text]")];
  const request = new XMLHttpRequest();
  const token = form.elements.token.value;
  let timer = 0;
  const stop = () => { clearTimeout(timer); box.hidden = true; form.removeAttribute("aria-busy"); };
  const tell = (share, words) => { bar.value = share; text.textContent = words; };
  const poll = async () => {
    try {
      const { rows, share } = await (await fetch(form.dataset.progress + token, { headers: MARK })).json();
      tell(share, form.dataset.rows.replace("{rows}", rows.toLocaleString(document.documentElement.lang)));
    } catch { /* the next one may tell */ }
    if (request.readyState !== XMLHttpRequest.DONE) timer = setTimeout(poll, 400);
  };
  request.upload.onprogress = (event) => event.lengthComputable && tell(event.loaded / event.total, form.dataset.sending);
  request.upload.onload = () => { bar.removeAttribute("value"); timer = setTimeout(poll, 200); };
  request.onload = () => { stop(); show(form, request.responseText); };
  request.onerror = () => { stop(); say(form, form.dataset.offline); };
  box.hidden = false;
  form.setAttribute("aria-busy", "true");
  request.open("POST", form.action);
  request.setRequestHeader("X-Requested-With", MARK["X-Requested-With"]);
  request.send(new FormData(form));
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches("[data-partial], [data-progress]")) {
    event.preventDefault();
    if (form.getAttribute("aria-busy") === "true") return;
    if (form.matches("[data-progress]")) upload(form);
    else send(form);
  }
});

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-fill], [data-clear], [data-print]");
  if (!target) return;
  if (target.matches("[data-print]")) window.print();
  else {
    event.preventDefault();
    fill(document.querySelector("form[data-partial]"), JSON.parse(target.dataset.fill ?? "{}"));
  }
});

offerPrint();
