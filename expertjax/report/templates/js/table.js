// A table that sorts by every column, says so to screen readers, keeps its order in
// the address and leaves as CSV.
//
// A column: key, label, value(row) (sorted and exported), order(row) (sorted, where that
// is not the value), cell(row) (shown; by default the value), number (right-aligned;
// sorted high to low first), title.

const ROWS_AT_FIRST = 100;

function dataTable({ name, caption, columns, rows, sort = null, wide = false, file = name, limit = ROWS_AT_FIRST }) {
  const state = { sort: app.route.params.get(`sort.${name}`) || sort, all: false };
  const body = h("tbody");
  const heads = columns.map((column) => headCell(column, state, () => { keep(`sort.${name}`, state.sort); draw(); }));
  const more = h("button", { type: "button", on: { click: () => { state.all = true; draw(); } } });
  const csv = h("button", { type: "button", on: { click: () => saveCsv(file, columns, sorted(rows, columns, state.sort)) } }, "Save as CSV");
  const draw = () => {
    const ordered = sorted(rows, columns, state.sort);
    const shown = state.all ? ordered : ordered.slice(0, limit);
    body.replaceChildren(...shown.map((row) => h("tr", { class: row.class }, columns.map((column, i) => bodyCell(column, row, i)))));
    heads.forEach((head) => head.update());
    more.hidden = shown.length === ordered.length;
    more.textContent = `Show all ${whole(ordered.length)} rows`;
  };
  draw();
  const table = h("table", { class: wide ? "wide" : null }, h("caption", {}, caption),
    h("thead", {}, h("tr", {}, heads.map((head) => head.element))), body);
  return h("div", { class: "table" },
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${caption} Scrollable.` }, table),
    h("div", { class: "below" }, more, csv));
}

function headCell(column, state, redraw) {
  const button = h("button", { type: "button", title: column.title, on: { click: () => {
    const [key, direction] = (state.sort || "").split(".");
    const first = column.number ? "desc" : "asc";
    const next = key === column.key && direction === first ? (first === "desc" ? "asc" : "desc") : first;
    state.sort = `${column.key}.${next}`;
    redraw();
  } } }, column.label);
  const element = h("th", { scope: "col", class: column.number ? "num" : null }, button);
  const update = () => {
    const [key, direction] = (state.sort || "").split(".");
    if (key === column.key) element.setAttribute("aria-sort", direction === "desc" ? "descending" : "ascending");
    else element.removeAttribute("aria-sort");
  };
  return { element, update };
}

function bodyCell(column, row, i) {
  const value = column.cell ? column.cell(row) : column.value(row);
  const content = value === null || value === undefined ? "n/a" : value;
  const props = { class: [column.number && "num", column.class].filter(Boolean).join(" ") || null };
  if (column.head || (i === 0 && column.head !== false)) return h("th", { ...props, scope: "row" }, content);
  return h("td", { ...props, dir: column.class === "text" ? "auto" : null }, content);
}

// What is not known comes last in either direction; equals keep their order.
function sorted(rows, columns, sort) {
  const [key, direction] = (sort || "").split(".");
  const column = columns.find((each) => each.key === key);
  if (!column) return rows;
  const sign = direction === "desc" ? -1 : 1;
  const of = column.order ?? column.value;
  const keyed = rows.map((row) => [of(row) ?? null, row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b), "en", { numeric: true });
  });
  return keyed.map(([, row]) => row);
}

function csvField(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  // A spreadsheet would take a text that begins like this for a formula.
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function saveCsv(file, columns, rows) {
  const lines = [columns.map((column) => csvField(column.label)), ...rows.map((row) => columns.map((column) => csvField(column.value(row))))];
  const text = `${lines.map((fields) => fields.join(",")).join("\r\n")}\r\n`;
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  h("a", { href: url, download: `${file.replace(/[^\w.-]+/g, "_")}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
