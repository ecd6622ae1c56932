// All concepts of a model.

function overviewPage(model) {
  return page(null, [
    ...model.warnings.map((text) => h("p", { class: "warning" }, text)),
    keyNumbers(model),
    mostExperts(model),
    section("concepts", "Concepts", conceptTable(model),
      note("5% threshold: the AP that, with the concept’s labels permuted, even the best of all units would reach with a probability of at most 5%. Above it: units whose AP does. n/a: so few sentences that no AP could be above chance."),
      knowsSurface(model) ? note("Surface: the AP of the best feature that needs no model, such as the number of years in a sentence, all that can be counted in it together, or one word. A unit is above it where its AP exceeds the upper end of that AP’s 95% interval. AP without form: of the best unit, on sentences that the most telling of these counts does not tell apart.") : null),
    section("best", "Best AP, by concept and by layer",
      h("p", {}, `A concept is above chance here where its best AP reaches its 5% threshold, and not merely its chance level: the best of ${whole(model.map.num_units)} units is high by luck alone.`),
      h("div", { class: "pair" }, bestChart(model), layerHeatmap(model))),
    section("thresholds", "Experts at other thresholds, and where they are",
      h("p", {}, "A concept is ", h("dfn", {}, "acquired"), " at γ when at least one unit is an expert for it (our definition). A unit that is an expert for three concepts counts three times among the experts, once among the distinct units."),
      h("div", { class: "pair" }, overChart(model), overviewLayers(model)), siteTable(model)),
  ]);
}

function keyNumbers(model) {
  const [acquired, experts, units] = model.over.at;
  const { best, above } = model.concepts;
  const of = `of ${whole(model.numConcepts)}`;
  const items = [
    [whole(acquired), of, "acquired concepts"],
    [whole(above.filter((n) => n > 0).length), of, "concepts above chance"],
    [fixed(median(best)), "", "median best AP"],
    [whole(experts), "", "experts, as pairs of unit and concept"],
    [whole(units), `of ${whole(model.map.num_units)}`, "units that are experts"],
  ];
  return h("ul", { class: "keys" }, items.map(([number, total, what]) =>
    h("li", {}, h("strong", {}, number), " ", total ? h("small", {}, total) : null, " ", h("span", {}, what))));
}

// The first thing that readers look for, in words.
function mostExperts(model) {
  const { experts } = model.concepts;
  const c = experts.indexOf(Math.max(...experts));
  if (!experts[c]) return h("p", { class: "lead" }, `No unit has AP ≥ ${model.gamma} for any concept.`);
  const totals = model.layerTable(c).map(sum);
  const layer = totals.indexOf(Math.max(...totals));
  return h("p", { class: "lead" }, "Most experts: ", conceptLink(model, c), `, with ${whole(experts[c])} at γ = ${model.gamma}; layer ${model.layers.layers[layer]} has the most of them, ${whole(totals[layer])}.`);
}

const aboveFlag = (yes) => h("span", { class: `flag ${yes ? "yes" : "no"}` }, yes ? "yes" : "no");

function conceptTable(model) {
  const k = model.concepts;
  const column = (key, label, of, show, more = {}) => ({ key, label, number: true, value: (c) => of[c], cell: (c) => show(of[c]), ...more });
  return dataTable({
    name: "concepts", file: `${model.name}_concepts`, wide: true, rows: model.order, sort: "best.desc",
    caption: "Every concept; a column’s head sorts by it, a name leads to the concept.",
    columns: [
      conceptColumn(model, (c) => c),
      column("best", "best AP", k.best, fixed),
      model.held_out && column("held_out", "its held-out AP", k.held_out, fixed, { title: "AP of the best unit on sentences held out from its selection" }),
      ...surfaceColumns(model),
      column("experts", `experts at ${model.gamma}`, k.experts, whole),
      column("chance", "chance", k.chance, fixed),
      column("threshold", "5% threshold", k.threshold, fixed),
      column("above", "above it", k.above, whole, { title: "units that reach the 5% threshold" }),
      { key: "is_above", label: "above chance", value: (c) => (k.above[c] > 0 ? "yes" : "no"), cell: (c) => aboveFlag(k.above[c] > 0) },
      { key: "margin", label: "margin", number: true, title: "best AP minus 5% threshold", value: (c) => margin(k, c), cell: (c) => fixed(margin(k, c)) },
      { key: "unit", label: "best unit", value: (c) => model.unitName(k.best_unit[c]), cell: (c) => unitLink(model, k.best_unit[c]) },
      { key: "group", label: "group", value: (c) => k.group[c] },
      column("n_pos", "positives", k.n_pos, whole),
      column("n_neg", "negatives", k.n_neg, whole),
    ].filter(Boolean),
  });
}

const margin = (k, c) => (k.threshold[c] === null ? null : k.best[c] - k.threshold[c]);

function bestChart(model) {
  const { order } = model;
  const k = model.concepts;
  const named = order.length <= 60;
  const x = named ? order.map((c) => plain(model.short(c))) : range(order.length).map((i) => i + 1);
  const place = (values) => (named ? { x: values, y: x } : { x, y: values });
  const hover = order.map((c) => plain(model.short(c)));
  return chart({
    title: "Best AP of each concept",
    alt: `From ${fixed(k.best[order.at(-1)])} (${model.short(order.at(-1))}) to ${fixed(k.best[order[0]])} (${model.short(order[0])}), beside chance and the 5% threshold. A click on a point leads to the concept.`,
    onClick: (point) => { location.hash = href("concept", model.key(order[point.pointIndex])); },
    spec: (colours) => ({
      data: [
        { name: "best AP", symbol: "circle", colour: colours.blue, values: order.map((c) => k.best[c]), large: 8 },
        { name: "5% threshold", symbol: "x-thin", colour: colours.orange, values: order.map((c) => k.threshold[c]), large: 7 },
        { name: "chance", symbol: "line-ns", colour: colours.quiet, values: order.map((c) => k.chance[c]), large: 8 },
      ].map(({ name, symbol, colour, values, large }) => ({
        type: "scatter", mode: "markers", name, ...place(values), text: hover, hovertemplate: "%{text}<br>%{fullData.name} %{customdata}<extra></extra>",
        customdata: values.map((value) => fixed(value)),
        marker: { symbol: !named && symbol === "line-ns" ? "line-ew" : symbol, color: colour, size: named ? large : 5, line: { width: symbol === "circle" ? 0 : 2, color: colour } },
      })),
      layout: named ? {
        height: 140 + 20 * order.length, xaxis: { range: [0, 1.02], title: { text: "AP" } }, yaxis: { autorange: "reversed", type: "category", dtick: 1, tickfont: { size: 11 } },
        shapes: [marker(model.gamma, colours.text).shape],
      } : { xaxis: { title: { text: "concepts, best first" } }, yaxis: { range: [0, 1.02], title: { text: "AP" } } },
    }),
    table: () => conceptNumbers(model),
  });
}

const conceptNumbers = (model) => ({
  name: "best", caption: "Best AP, 5% threshold and chance of each concept.", rows: model.order,
  columns: [
    conceptColumn(model, (c) => c),
    ...["best", "threshold", "chance"].map((key) => ({ key, label: key, number: true, value: (c) => model.concepts[key][c], cell: (c) => fixed(model.concepts[key][c]) })),
  ],
});

function layerHeatmap(model) {
  const { order } = model;
  const { layers, best } = model.layers;
  const named = order.length <= 60;
  return chart({
    title: "Best AP of each concept in each layer",
    alt: "Concepts in the order of best AP; every cell is the best AP among the units of one layer.",
    onClick: (point) => { location.hash = href("concept", model.key(order[point.pointIndex[0]])); },
    spec: () => ({
      data: [{
        type: "heatmap", z: order.map((c) => best[c]), x: layers.map(String), y: named ? order.map((c) => plain(model.short(c))) : range(order.length).map((i) => i + 1),
        customdata: order.map((c) => layers.map(() => plain(model.short(c)))), hovertemplate: "%{customdata}<br>layer %{x}: %{z:.3f}<extra></extra>",
        colorscale: "Cividis", colorbar: { thickness: 12, title: { text: "AP" } },
      }],
      layout: {
        height: named ? 140 + 20 * order.length : 520, xaxis: { type: "category", title: { text: "layer" } },
        yaxis: named ? { type: "category", autorange: "reversed", dtick: 1, tickfont: { size: 11 } } : { autorange: "reversed", title: { text: "concepts, best first" } },
      },
    }),
    table: () => ({
      name: "by_layer", caption: "Best AP of each concept in each layer.", rows: order,
      columns: [
        conceptColumn(model, (c) => c),
        ...layers.map((layer, l) => ({ key: `l${l}`, label: `layer ${layer}`, number: true, value: (c) => best[c][l], cell: (c) => fixed(best[c][l]) })),
      ],
    }),
  });
}

function overChart(model) {
  const { gammas, acquired, experts, units } = model.over;
  return chart({
    title: "Acquired concepts and experts over γ",
    alt: `Acquired concepts fall from ${whole(acquired[0])} at γ = 0.5 to ${whole(acquired.at(-1))} at γ = 1, experts from ${whole(experts[0])} to ${whole(experts.at(-1))}.`,
    spec: (colours) => {
      const mark = marker(model.gamma, colours.text);
      const log = (values) => values.map((value) => (value > 0 ? value : null));
      return {
        data: [
          { name: "acquired concepts", y: acquired, xaxis: "x", yaxis: "y2", line: { color: colours.blue, width: 2 } },
          { name: "experts (pairs)", y: log(experts), line: { color: colours.green, width: 2 } },
          { name: "distinct units", y: log(units), line: { color: colours.orange, width: 2, dash: "dash" } },
        ].map((trace) => ({ type: "scatter", mode: "lines", x: gammas, ...trace })),
        layout: {
          height: 460, xaxis: { title: { text: "expert threshold γ" }, range: [0.5, 1], anchor: "y" },
          yaxis: { type: "log", domain: [0, 0.46], title: { text: "count (log)" } }, yaxis2: { domain: [0.54, 1], rangemode: "tozero", title: { text: "concepts" } },
          shapes: [mark.shape],
        },
      };
    },
    table: () => ({
      name: "over", caption: "Counts at each threshold.", rows: range(gammas.length),
      columns: [["gamma", "γ", gammas], ["acquired", "acquired concepts", acquired], ["experts", "experts", experts], ["units", "distinct units", units]]
        .map(([key, label, of]) => ({ key, label, number: true, value: (i) => of[i] })),
    }),
  });
}

function overviewLayers(model) {
  const counts = model.layerTable();
  const totals = counts.map(sum);
  const most = totals.indexOf(Math.max(...totals));
  const alt = totals[most] ? `Most, ${whole(totals[most])}, in layer ${model.layers.layers[most]}.` : `No unit has AP ≥ ${model.gamma}.`;
  return layerChart(model, counts, "Experts per layer, all concepts", alt);
}

function siteTable(model) {
  const counts = model.layerTable();
  const { sites, units } = model.layers;
  const rows = sites.map((site, s) => {
    const n = sum(range(counts.length).map((l) => units[l * sites.length + s]));
    const experts = sum(counts.map((row) => row[s]));
    return { site, n, experts, rate: (1000 * experts) / (n * model.numConcepts) };
  });
  return dataTable({
    name: "sites", file: `${model.name}_sites`, rows, sort: "rate.desc",
    caption: "Experts by site. A site with more units has more chances, so the last column divides by them: experts per 1,000 units, mean over concepts.",
    columns: [
      { key: "site", label: "site", value: (row) => row.site },
      { key: "n", label: "units", number: true, value: (row) => row.n, cell: (row) => whole(row.n) },
      { key: "experts", label: "experts", number: true, value: (row) => row.experts, cell: (row) => whole(row.experts) },
      { key: "rate", label: "per 1,000", number: true, value: (row) => row.rate, cell: (row) => fixed(row.rate) },
    ],
  });
}
