"use strict";
// All of the page is there without this script. It adds sorting, filters and the values of marks.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// Sorting: a button in each heading. Numbers sort by value, other cells as people order names; no value comes last.

const names = new Intl.Collator("en", { numeric: true });

function valueOf(row, column) {
  const text = row.cells[column].textContent.trim();
  return { text, number: parseFloat(text.replaceAll(",", "").replace("\u2212", "-")) };
}

function sortBy(heading, table) {
  const column = heading.cellIndex, numeric = heading.classList.contains("number");
  const before = heading.getAttribute("aria-sort");
  const first = numeric ? "descending" : "ascending", second = numeric ? "ascending" : "descending";
  const order = before === first ? second : first;
  all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, ...valueOf(row, column) }));
  rows.sort((a, b) => {
    if (!numeric) return sign * names.compare(a.text, b.text);
    if (isNaN(a.number) || isNaN(b.number)) return isNaN(a.number) - isNaN(b.number);
    return sign * (a.number - b.number);
  });
  table.tBodies[0].append(...rows.map(({ row }) => row));
}

for (const table of all("table")) {
  if (table.tBodies[0].rows.length < 2) continue;
  for (const heading of all("thead th", table)) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortBy(heading, table));
    heading.append(button);
  }
}

// Filters: a part that names another task, another budget or a method that is not chosen is hidden.

const form = document.getElementById("filters");

function isChosen(part, task, budget, methods) {
  const { task: itsTask, budget: itsBudget, methods: itsMethods } = part.dataset;
  return (!task || !itsTask || itsTask === task)
    && (!budget || !itsBudget || itsBudget === budget)
    && (!itsMethods || itsMethods.split(" ").every((method) => methods.has(method)));
}

function applyFilters() {
  const task = form.elements.task?.value, budget = form.elements.budget?.value;
  const boxes = all("input[name=method]", form), chosen = boxes.filter((box) => box.checked);
  const methods = new Set((boxes.length ? chosen : all("[data-methods]")).flatMap((box) => (box.value ?? box.dataset.methods).split(" ")));
  for (const part of all("[data-task], [data-budget], [data-methods]")) part.hidden = !isChosen(part, task, budget, methods);
  for (const table of all(".table")) {
    const empty = all("tbody tr", table).every((row) => row.hidden);
    table.hidden = empty || !isChosen(table, task, budget, methods);
  }
  const count = document.getElementById("chosen-methods");
  if (count) count.textContent = chosen.length === boxes.length ? "all" : `${chosen.length} of ${boxes.length}`;
  const rows = all("#results tbody tr"), shown = rows.filter((row) => !row.closest("[hidden]"));
  form.elements.shown.value = shown.length === rows.length ? "" : `${shown.length} of ${rows.length} rows`;
}

if (form) {
  form.hidden = false;
  form.addEventListener("input", applyFilters);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(applyFilters));
  for (const [id, checked] of [["every-method", true], ["no-method", false]]) {
    document.getElementById(id)?.addEventListener("click", () => {
      all("input[name=method]", form).forEach((box) => { box.checked = checked; });
      applyFilters();
    });
  }
  const menu = form.querySelector("details");
  document.addEventListener("click", (event) => { if (menu && !menu.contains(event.target)) menu.open = false; });
  menu?.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  applyFilters(); // a browser may keep what was chosen when a page is loaded again
}

// Marks: hover, focus or tap shows a value. A picture is one stop of the Tab key; arrows go from mark to mark.

const tip = document.getElementById("tip");

function showTip(mark) {
  tip.textContent = mark.getAttribute("aria-label");
  tip.hidden = false;
  const at = mark.getBoundingClientRect(), size = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, at.left + at.width / 2 - size.width / 2), document.documentElement.clientWidth - size.width - 8);
  const above = at.top - size.height - 6;
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above > 0 ? above : at.bottom + 6) + scrollY}px`;
}

const hideTip = () => { tip.hidden = true; };

for (const picture of all("svg.picture")) {
  const marks = all(".mark", picture);
  marks.forEach((mark, index) => {
    const title = mark.querySelector("title");
    mark.setAttribute("aria-label", title.textContent);
    title.remove(); // the browser's own, slower tip
    mark.setAttribute("tabindex", index ? "-1" : "0");
    mark.addEventListener("pointerenter", () => showTip(mark));
    mark.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hideTip(); });
    mark.addEventListener("click", () => mark.focus({ preventScroll: true }));
    mark.addEventListener("focus", () => showTip(mark));
    mark.addEventListener("blur", hideTip);
    mark.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") hideTip();
      if (!step) return;
      event.preventDefault();
      const next = marks[(index + step + marks.length) % marks.length];
      mark.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  });
}

document.addEventListener("pointerdown", (event) => { if (!event.target.closest?.(".mark")) hideTip(); });

// Folds: long parts are closed at first. They open where a link leads to them, and on paper.

const folds = all("details.fold");

function openFold() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const fold = target && (target.closest("details") ?? target.querySelector("details.fold"));
  if (fold) fold.open = true;
}

folds.forEach((fold) => { fold.open = false; });
addEventListener("hashchange", openFold);
all("nav a").forEach((link) => link.addEventListener("click", () => setTimeout(openFold)));
openFold();
let closed = [];
addEventListener("beforeprint", () => {
  closed = folds.filter((fold) => !fold.open);
  closed.forEach((fold) => { fold.open = true; });
});
addEventListener("afterprint", () => closed.forEach((fold) => { fold.open = false; }));
