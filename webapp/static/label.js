// A key for each button of the page; the buttons are enough without.

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const wanted = [...document.querySelectorAll("[data-key]")].find((each) => each.dataset.key === event.key.toLowerCase());
  if (!wanted || event.repeat) return;
  event.preventDefault();
  wanted.click();
});
for (const key of document.querySelectorAll("[data-scripted]")) key.hidden = false; // they do something from now on
