"use strict";

// Sorts a table by the column whose head was pressed; what is not a number is last.
function sortBy(table, column, kind, direction) {
  const body = table.tBodies[0];
  const key = (row) => {
    const cell = row.cells[column];
    return kind === "number" ? Number.parseFloat(cell.dataset.value) : cell.textContent;
  };
  const compare = (a, b) => {
    if (kind === "text") return direction * a.localeCompare(b, undefined, { numeric: true });
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return direction * (a - b);
  };
  const rows = [...body.rows].map((row) => [key(row), row]);
  rows.sort((a, b) => compare(a[0], b[0]));
  body.append(...rows.map((pair) => pair[1]));
}

// Without this script the heads are plain text, so buttons are made here.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const kind = head.dataset.sort;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const first = kind === "number" ? "descending" : "ascending";
      const other = first === "descending" ? "ascending" : "descending";
      const next = now === first ? other : first;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", next);
      sortBy(table, column, kind, next === "ascending" ? 1 : -1);
    });
  });
}

// A link to a concept opens its section.
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.querySelector("summary").focus({ preventScroll: true });
    target.scrollIntoView();
  }
}
addEventListener("hashchange", openTarget);
addEventListener("load", openTarget);
