// Co-learning: which concepts share their best units (our definition).

const ROW = 16; // pixels of a concept, where all are named
const LABEL = 13; // pixels of a name

function mapPage(model) {
  const { k, num_units: numUnits, order } = model.map;
  const { params } = app.route;
  const pick = (name, other) => model.rows.get(params.get(name)) ?? other;
  if (model.numConcepts < 2) return page("Co-learning", [note("One concept shares units with no other.")]);
  const strongest = strongestPairs(model, 1)[0];
  const state = { a: pick("a", strongest.a), b: pick("b", strongest.b) };
  const holder = h("div", { "aria-live": "polite" });
  const options = range(model.numConcepts).map((c) => [model.key(c), model.short(c)]).sort((x, y) => x[1].localeCompare(y[1], "en"));
  const selects = h("div", { class: "choices" });
  const show = () => {
    keep("a", model.key(state.a));
    keep("b", model.key(state.b));
    selects.replaceChildren(
      choice("Concept", options, model.key(state.a), (key) => { state.a = model.rows.get(key); show(); }),
      choice("and", options, model.key(state.b), (key) => { state.b = model.rows.get(key); show(); }));
    holder.replaceChildren(sharedTable(model, state.a, state.b));
  };
  show();
  return page("Co-learning", [
    h("p", { class: "lead" }, `How many of their ${k} best units two concepts share. Random sets of ${k} of ${whole(numUnits)} units would share ${((k * k) / numUnits).toPrecision(2)} in the mean, an overlap of ${(k / numUnits).toPrecision(2)}.`),
    section("matrix", "Overlap of all concepts", overlapChart(model, order, (a, b) => { state.a = a; state.b = b; show(); holder.scrollIntoView({ block: "nearest" }); })),
    section("pair", "Shared units of two concepts", selects, holder),
    section("pairs", "Pairs that share most", pairsTable(model)),
  ]);
}

function overlapChart(model, order, onPick) {
  const { k } = model.map;
  const n = order.length;
  const narrow = innerWidth < 700;
  const height = n <= 60 ? 190 + ROW * n : Math.min(720, 0.95 * innerWidth + 60);
  const named = labels(order.map((c) => model.short(c)), height - 150, narrow ? 16 : 28);
  // A phone has no room for names side by side: they are those at the left.
  const below = narrow || n > 200 ? { showticklabels: false } : { ...named, tickangle: -60, tickfont: { size: 10 } };
  return chart({
    title: `Overlap of the ${k} best units`, zoomed: true,
    alt: "Concepts that share units stand together (average linkage). Drag to zoom, double click to see all again; a click on a cell shows the shared units below.",
    onClick: (point) => onPick(order[point.pointIndex[0]], order[point.pointIndex[1]]),
    spec: (colours) => ({
      data: [{
        type: "heatmap", x: range(n), y: range(n), z: order.map((a) => order.map((b) => (a === b ? null : model.shared(a, b) / k))), zmin: 0,
        colorscale: colours.dark ? DARK_SCALE : LIGHT_SCALE, colorbar: { thickness: 12, orientation: narrow ? "h" : "v", title: { text: "overlap" } }, hoverongaps: false,
        customdata: order.map((a) => order.map((b) => [plain(model.short(a)), plain(model.short(b)), model.shared(a, b)])),
        hovertemplate: "%{customdata[0]}<br>%{customdata[1]}<br>%{customdata[2]} shared<extra></extra>",
      }],
      layout: {
        height, xaxis: { ...below, showgrid: false }, yaxis: { ...named, tickfont: { size: 10 }, showgrid: false, autorange: "reversed" },
      },
    }),
    table: () => pairsSpec(model, strongestPairs(model, Infinity), "all_pairs", "Every pair of concepts."),
  });
}

// As many names as there is room for, in pixels: all, or every second, third, ...
function labels(names, room, most) {
  const step = Math.ceil((names.length * LABEL) / room);
  const shown = range(names.length).filter((i) => i % step === 0);
  const cut = (name) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);
  return { tickvals: shown, ticktext: shown.map((i) => plain(cut(names[i]))) };
}

// Single-hued, so that they read without colour; the lower end is the card itself.
const LIGHT_SCALE = [[0, "#f4f7fa"], [0.25, "#bcd7ec"], [0.5, "#6aa9d4"], [0.75, "#1f74ad"], [1, "#07335a"]];
const DARK_SCALE = [[0, "#1b222b"], [0.25, "#1d4a6e"], [0.5, "#2f7fb6"], [0.75, "#7dbfe8"], [1, "#eaf6ff"]];

function sharedTable(model, a, b) {
  if (a === b) return note("Choose two different concepts.");
  const { top, ap, k } = model.map;
  const rows = top[a].map((unit, i) => ({ unit, a: ap[a][i], j: top[b].indexOf(unit) })).filter((row) => row.j >= 0)
    .map((row) => ({ unit: row.unit, a: row.a, b: ap[b][row.j] }));
  if (!rows.length) return note(`${model.short(a)} and ${model.short(b)} share none of their ${k} best units.`);
  const at = (row) => model.unitAt(row.unit);
  return dataTable({
    name: "shared", file: `shared_${model.key(a)}_${model.key(b)}`, rows, sort: "a.desc",
    caption: `${plural(rows.length, "unit")} of ${k} shared by ${model.short(a)} and ${model.short(b)}.`,
    columns: [
      { key: "unit", label: "unit", value: (row) => model.unitName(row.unit), cell: (row) => unitLink(model, row.unit) },
      { key: "a", label: `AP, ${model.short(a)}`, number: true, value: (row) => row.a, cell: (row) => fixed(row.a) },
      { key: "b", label: `AP, ${model.short(b)}`, number: true, value: (row) => row.b, cell: (row) => fixed(row.b) },
      { key: "layer", label: "layer", number: true, value: (row) => at(row).layer },
      { key: "site", label: "site", value: (row) => at(row).site },
    ],
  });
}

function strongestPairs(model, n) {
  const pairs = [];
  for (let a = 1; a < model.numConcepts; a += 1) {
    for (let b = 0; b < a; b += 1) pairs.push({ a: b, b: a, shared: model.map.shared[a][b] });
  }
  pairs.sort((x, y) => y.shared - x.shared);
  return n === Infinity ? pairs : pairs.slice(0, n);
}

function pairsTable(model) {
  const pairs = strongestPairs(model, 20).filter((pair) => pair.shared > 0);
  if (!pairs.length) return note(`No two concepts share any of their ${model.map.k} best units.`);
  return dataTable(pairsSpec(model, pairs, "pairs", "The pairs of concepts with most shared units."));
}

const pairsSpec = (model, rows, name, caption) => ({
  name, caption, rows, sort: "shared.desc",
  columns: [
    conceptColumn(model, (row) => row.a, { key: "first" }),
    conceptColumn(model, (row) => row.b, { key: "second", label: "and" }),
    { key: "shared", label: "shared units", number: true, value: (row) => row.shared, cell: (row) => link(href("map", null, { a: model.key(row.a), b: model.key(row.b) }), whole(row.shared)) },
    { key: "overlap", label: "overlap", number: true, value: (row) => row.shared / model.map.k, cell: (row) => fixed(row.shared / model.map.k) },
  ],
});

// The concepts that share most of a concept's best units.
function nearestTable(model, c) {
  if (model.numConcepts < 2) return note("There is no other concept.");
  const rows = range(model.numConcepts).filter((other) => other !== c).map((other) => ({ a: c, b: other, shared: model.shared(c, other) }))
    .filter((row) => row.shared > 0).sort((x, y) => y.shared - x.shared).slice(0, 10);
  if (!rows.length) return note(`No other concept shares any of its ${model.map.k} best units.`);
  const spec = pairsSpec(model, rows, "nearest", `Concepts that share most of its ${model.map.k} best units; random sets would share ${((model.map.k ** 2) / model.map.num_units).toPrecision(2)}.`);
  const [, second, ...rest] = spec.columns;
  return dataTable({ ...spec, columns: [{ ...second, label: "concept" }, ...rest] });
}
