// Where the reader is: "#/concept/group%2Fname?model=m&sort=best.desc". Reloading or
// sending the address leads to the same place.

function parseRoute(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  const [page = "", ...rest] = path.split("/");
  let id = rest.join("/");
  try { id = decodeURIComponent(id); } catch { id = ""; }
  return { page, id, params: new URLSearchParams(query || "") };
}

function href(page, id = null, params = {}) {
  const query = new URLSearchParams();
  if (app.model && app.model.number > 0) query.set("model", app.model.name);
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return `#/${page}${id === null ? "" : `/${encodeURIComponent(id)}`}${text ? `?${text}` : ""}`;
}

// Keeps a setting in the address without leaving the page.
function keep(name, value) {
  const { page, id, params } = app.route;
  if (value === null || value === "") params.delete(name);
  else params.set(name, value);
  const text = params.toString();
  const path = `#/${page}${id ? `/${encodeURIComponent(id)}` : ""}`;
  history.replaceState(history.state, "", path + (text ? `?${text}` : ""));
}

const conceptLink = (model, c) => h("a", { href: href("concept", model.key(c)), title: model.key(c) }, model.short(c));
const withKey = (element, key) => (key === null ? element : h("span", {}, element, " ", h("small", { class: "key" }, key)));
// A column of concepts: name and key are shown, names sort, keys leave as CSV.
const conceptColumn = (model, of, more = {}) => ({
  key: "concept", label: "concept", value: (row) => model.key(of(row)), order: (row) => model.short(of(row)),
  cell: (row) => withKey(conceptLink(model, of(row)), model.beside(of(row))), ...more,
});
const unitLink = (model, unit) => link(href("unit", unit), code(model.unitName(unit)));
