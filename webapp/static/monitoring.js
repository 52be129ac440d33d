// Fetch the numbers anew while somebody looks at them, unless they unticked it. Without a script, "Refresh" does it.

const box = document.getElementById("refresh");
box.closest("label").hidden = false;

async function refresh() {
  const live = document.getElementById("live");
  if (!box.checked || document.hidden || live.contains(document.activeElement)) return;
  try {
    const answer = await fetch(live.dataset.next, { headers: { "X-Requested-With": "fetch" } });
    const part = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (part) live.replaceWith(part);
  } catch { /* the app is away; the next time may do */ }
}

/** Refresh again and again; a slow answer is waited for, so that they do not pile up. */
function repeat() {
  setTimeout(async () => { await refresh(); repeat(); }, 1000 * box.dataset.seconds);
}

repeat();
