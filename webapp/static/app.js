// What the pages can do better with a script; every one of them works without.

const MARK = { "X-Requested-With": "fetch" };

/** Return the parts of an answer ([data-swap]) that have a place on this page. */
function partsOf(html) {
  return [...new DOMParser().parseFromString(html, "text/html").querySelectorAll("[data-swap]")]
    .filter((part) => document.getElementById(part.id));
}

/** Put parts in their places. Inputs show how their values were read, unless they were changed since `sent`. */
function swap(parts, sent) {
  for (const part of parts) {
    for (const each of part.querySelectorAll("[autofocus]")) each.removeAttribute("autofocus"); // `lead` decides
    document.getElementById(part.id).replaceWith(part);
    const input = document.getElementById(part.dataset.for ?? "");
    if (part.classList.contains("error")) input?.setAttribute("aria-invalid", "true");
    else input?.removeAttribute("aria-invalid");
    if (input && (!sent.has(input.name) || sent.get(input.name) === input.value)) input.value = part.dataset.value;
    else if (input) markStale();
  }
  dress(document);
}

/** A verdict belongs to the values it was made from: with the first change it is told to be an old one. */
function markStale() {
  const result = document.getElementById("result");
  const notice = result?.querySelector(".stale");
  if (!notice || !result.querySelector(".verdict")) return;
  notice.hidden = false;
  result.classList.add("is-stale");
  for (const button of result.querySelectorAll("[data-print]")) button.disabled = true;
}

/** Do what only a script can: offer to print, and tell times in the reader's zone. */
function dress(root) {
  for (const button of root.querySelectorAll("[data-print]")) button.hidden = false;
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.textContent = new Date(time.dateTime).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
  }
}

/** Have times searched for in the reader's zone, where none was asked for yet. */
function offerZone(form) {
  const { zone, from, to } = form.elements;
  if (zone.value || from.value || to.value) return;
  zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const label of form.querySelectorAll("label")) label.textContent = label.textContent.replace("(UTC)", `(${zone.value})`);
}

/** Lead the reader to what came: always to an error, to a result only if it is out of sight. */
function lead() {
  const found = document.querySelector("#problems [data-focus]") ?? document.querySelector("#result [data-focus]");
  if (!found) return;
  const { top, bottom } = found.getBoundingClientRect();
  const isSeen = top >= 0 && bottom <= window.innerHeight;
  if (found.closest("#problems") || !isSeen) found.focus({ preventScroll: false });
  if (found.closest("#problems")) return;
  const status = document.getElementById("status"); // not on a page that an older version of the app wrote
  if (status) status.textContent = found.textContent.replace(/\s+/g, " ").trim();
}

/** Say in the page's problem box what an answer without parts says; what was entered stays. */
function explain(html) {
  const main = new DOMParser().parseFromString(html, "text/html").querySelector("main");
  const box = Object.assign(document.createElement("div"), { className: "problems", tabIndex: -1 });
  box.setAttribute("role", "alert");
  const heading = document.createElement("h2");
  heading.textContent = main?.querySelector("h1")?.textContent ?? "No answer came back";
  const words = main?.querySelectorAll(".problem > *") ?? [];
  box.append(heading, ...(words.length ? words : ["Check the connection and try again; what you entered is kept."]));
  document.getElementById("problems").replaceChildren(box);
  box.focus();
}

/** Take the form's token anew: somebody logged in again, elsewhere. Say whether there was one. */
async function renew(form) {
  const html = await fetch(location.pathname).then((answer) => answer.text()).catch(() => "");
  const token = new DOMParser().parseFromString(html, "text/html").querySelector("main [name=csrf_token]");
  const here = form.elements.csrf_token;
  const isNew = token && here && token.value !== here.value && partsOf(html).length > 0;
  if (isNew) for (const input of document.getElementsByName("csrf_token")) input.value = token.value;
  return isNew;
}

async function send(form, isAgain = false) {
  const button = form.querySelector("button");
  const sent = new FormData(form);
  form.setAttribute("aria-busy", "true");
  button.disabled = true;
  const answer = await fetch(form.action, { method: "POST", body: sent, headers: MARK }).catch(() => null);
  const html = (await answer?.text().catch(() => "")) ?? "";
  form.removeAttribute("aria-busy");
  button.disabled = false;
  const parts = partsOf(html);
  if (parts.length) { swap(parts, sent); lead(); }
  else if (answer?.status === 400 && !isAgain && (await renew(form))) await send(form, true);
  else explain(html);
}

/** Fill a form with texts by name; what was said of the old values goes. */
function fill(form, texts) {
  for (const input of form.querySelectorAll("input:not([type=hidden]), select")) {
    input.value = texts[input.name] ?? "";
    input.removeAttribute("aria-invalid");
  }
  for (const note of form.querySelectorAll("[data-for]")) note.replaceChildren();
  document.getElementById("problems")?.replaceChildren();
  markStale();
}

/** Upload a file with its progress shown, then that of the rows, which the server is asked for. */
function upload(form, isAgain = false) {
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
  const page = `${form.getAttribute("action")}/jobs/${token}`;
  request.onload = async () => {
    stop();
    if (request.responseURL.includes("/jobs/")) { location.assign(request.responseURL); return; }
    const parts = partsOf(request.responseText);
    if (parts.length) { swap(parts, new FormData()); lead(); }
    else if (request.status === 400 && !isAgain && (await renew(form))) upload(form, true);
    else explain(request.responseText);
  };
  request.onerror = async () => {
    stop();
    const answer = await fetch(page, { headers: MARK }).catch(() => null);
    if (answer?.ok) location.assign(page);
    else explain("");
  };
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
    fill(document.getElementById("case"), JSON.parse(target.dataset.fill ?? "{}"));
  }
});

document.addEventListener("input", (event) => event.target.closest("#case") && markStale());

/** Say that another version answers than at the reader's last visit. */
function compareVersion(box) {
  const { model, version } = box.dataset;
  const before = localStorage.getItem(`version of ${model}`);
  box.querySelector("span").textContent = before;
  box.hidden = before === null || before === version;
  localStorage.setItem(`version of ${model}`, version);
}

dress(document);
for (const form of document.querySelectorAll("form.search")) offerZone(form);
const changed = document.getElementById("changed");
if (changed) compareVersion(changed);
