// Several models side by side.

const MEASURES = { acquired: "acquired concepts", experts: "experts (pairs)", units_share: "share of units that are experts" };

function comparePage(model) {
  const { comparison } = app;
  const { params } = app.route;
  const measure = MEASURES[params.get("measure")] ? params.get("measure") : "acquired";
  const holder = h("div", {});
  const show = (name) => holder.replaceChildren(h("div", { class: "pair" }, presenceChart(comparison, name), comparison.ranking ? r2Chart(comparison, name) : null),
    comparison.ranking ? scoresChart(comparison, name) : null);
  const shared = plural(comparison.concepts.length, "concept");
  const content = page("Models compared", [
    h("p", { class: "lead" }, `${plural(comparison.models.length, "model")}, compared by ${shared} that all of them have.`),
    section("models", "Models", modelTable(comparison, model)),
    comparison.ranking ? section("ranking", "Do expert counts rank the models as the benchmark does?", rankingWords(comparison.ranking), rankingTable(comparison.ranking)) : null,
    section("presence", "Experts over γ", choice("Measure", Object.entries(MEASURES), measure, (name) => { keep("measure", name); show(name); }), holder),
    section("best", "Best AP of each concept in each model", bestTable(comparison)),
  ]);
  show(measure);
  return content;
}

const modelHref = (name, page_, id, params = {}) => `#/${page_}${id === null ? "" : `/${encodeURIComponent(id)}`}?${new URLSearchParams({ ...params, model: name })}`;

function modelTable(comparison, model) {
  const at = gammaPlace(comparison, model.gamma);
  const { measures, models, best, above, num_units: numUnits, ranking } = comparison;
  const middle = (values) => { const s = [...values].sort((a, b) => a - b); return (s[Math.floor((s.length - 1) / 2)] + s[Math.ceil((s.length - 1) / 2)]) / 2; };
  const column = (key, label, value, show) => ({ key, label, number: true, value, cell: (m) => show(value(m)) });
  return dataTable({
    name: "models", rows: range(models.length), sort: "acquired.desc", caption: `Models by their experts at γ = ${model.gamma}; a name leads to the model.`,
    columns: [
      { key: "model", label: "model", value: (m) => models[m], cell: (m) => link(modelHref(models[m], "overview", null), models[m]) },
      ranking && column("score", "benchmark score", (m) => ranking.scores[models[m]] ?? null, (x) => fixed(x)),
      column("acquired", "acquired concepts", (m) => measures.acquired[m][at], whole),
      column("above", "concepts above chance", (m) => above[m].filter((n) => n > 0).length, whole),
      column("experts", "experts", (m) => measures.experts[m][at], whole),
      column("share", "share of units", (m) => measures.units_share[m][at], percent),
      column("best", "median best AP", (m) => middle(best[m]), fixed),
      column("units", "units", (m) => numUnits[m], whole),
    ].filter(Boolean),
  });
}

function gammaPlace(comparison, gamma) {
  const { gammas } = comparison;
  let at = 0;
  while (at + 1 < gammas.length && gammas[at + 1] <= gamma + 1e-9) at += 1;
  return at;
}

function presenceChart(comparison, measure) {
  const { gammas, models } = comparison;
  const dashes = ["solid", "dash", "dot", "dashdot", "longdash"];
  return chart({
    title: `X_γ: ${MEASURES[measure]}`, alt: `A line for each of ${models.length} models over the threshold γ.`,
    spec: (colours) => ({
      data: models.map((name, m) => ({ type: "scatter", mode: "lines", name: plain(name), x: gammas, y: comparison.measures[measure][m], line: { width: 2, color: colours.series[m % 8], dash: dashes[Math.floor(m / 8 + m) % 5] } })),
      layout: { height: 400, xaxis: { title: { text: "expert threshold γ" } }, yaxis: { title: { text: MEASURES[measure] }, rangemode: "tozero" } },
    }),
    table: () => ({
      name: "presence", caption: `${MEASURES[measure]} at each threshold.`, rows: range(gammas.length),
      columns: [{ key: "gamma", label: "γ", number: true, value: (g) => gammas[g], cell: (g) => fixed(gammas[g]) },
        ...models.map((name, m) => ({ key: `m${m}`, label: name, number: true, value: (g) => comparison.measures[measure][m][g] }))],
    }),
  });
}

function r2Chart(comparison, measure) {
  const { ranking } = comparison;
  const over = ranking.r2[measure];
  const best = ranking.best.find((row) => row.measure === measure);
  if (!over || !best) return note("All models have the same counts: no r².");
  return chart({
    title: `r² with the benchmark: ${MEASURES[measure]}`,
    alt: `Highest, ${fixed(best.r2)} (95% interval ${interval(best.r2_low, best.r2_high)}), at γ* = ${best.gamma}.`,
    spec: (colours) => {
      const star = marker(best.gamma, colours.text, "γ*");
      return {
        data: [{ type: "scatter", mode: "lines", name: "r²", x: over.gamma, y: over.r2, line: { color: colours.blue, width: 2 } },
          { type: "scatter", mode: "markers", name: "highest, with interval", x: [best.gamma], y: [best.r2], marker: { color: colours.orange, size: 9 }, error_y: { type: "data", symmetric: false, array: [Math.max(0, best.r2_high - best.r2)], arrayminus: [Math.max(0, best.r2 - best.r2_low)], color: colours.orange } }],
        layout: { height: 400, xaxis: { title: { text: "expert threshold γ" } }, yaxis: { range: [0, 1.03], title: { text: "r²" } }, shapes: [star.shape], annotations: [star.annotation] },
      };
    },
    table: () => ({ name: "r2", caption: "r² and Spearman at each threshold.", rows: range(over.gamma.length),
      columns: ["gamma", "r2", "spearman"].map((key) => ({ key, label: key, number: true, value: (g) => over[key][g], cell: (g) => fixed(over[key][g]) })) }),
  });
}

// Scores against the counts at γ*, and what each model's score would be guessed from the others.
function scoresChart(comparison, measure) {
  const { ranking, models, measures } = comparison;
  const best = ranking.best.find((row) => row.measure === measure);
  if (!best) return null;
  const at = gammaPlace(comparison, best.gamma);
  const shown = range(models.length).filter((m) => models[m] in ranking.scores);
  const predicted = new Map(ranking.predictions.filter((row) => row.measure === measure).map((row) => [row.model, row.predicted]));
  return chart({
    title: `Benchmark score against ${MEASURES[measure]} at γ* = ${best.gamma}`, alt: `A point for each of ${shown.length} models.`,
    spec: (colours) => ({
      data: [{ type: "scatter", mode: "markers+text", x: shown.map((m) => measures[measure][m][at]), y: shown.map((m) => ranking.scores[models[m]]), text: shown.map((m) => plain(models[m])), textposition: "top center", cliponaxis: false, marker: { size: 9, color: colours.blue } }],
      layout: { xaxis: { title: { text: MEASURES[measure] } }, yaxis: { title: { text: "benchmark score" } }, showlegend: false },
    }),
    table: () => ({ name: "scores", caption: "Scores, counts at γ*, and each score as predicted from the other models.", rows: shown,
      columns: [{ key: "model", label: "model", value: (m) => models[m] }, { key: "score", label: "score", number: true, value: (m) => ranking.scores[models[m]] },
        { key: "count", label: MEASURES[measure], number: true, value: (m) => measures[measure][m][at] },
        { key: "predicted", label: "predicted", number: true, value: (m) => predicted.get(models[m]) ?? null, cell: (m) => fixed(predicted.get(models[m])) }] }),
  });
}

function rankingWords(ranking) {
  return h("div", {}, ranking.warnings.map((text) => h("p", { class: "warning" }, text)));
}

function rankingTable(ranking) {
  const column = (key, label, show = fixed, title = null) => ({ key, label, title, number: true, value: (row) => row[key], cell: (row) => show(row[key]) });
  return dataTable({
    name: "ranking", rows: ranking.best, sort: "r2.desc",
    caption: "r² between counts and scores at γ*, the threshold of highest r². γ* is chosen on the same models; the interval, p and the last column pay for that.",
    columns: [
      { key: "measure", label: "measure", value: (row) => MEASURES[row.measure] || row.measure },
      column("gamma", "γ*"), column("r2", "r²"),
      { key: "interval", label: "95% interval", number: true, value: (row) => row.r2_low, cell: (row) => interval(row.r2_low, row.r2_high) },
      column("spearman", "Spearman"), column("p", "p", (x) => fixed(x, 4), "how often permuted scores have as high an r² at their best γ"),
      { key: "range", label: "γ* without one model", number: true, value: (row) => row.gamma_low, cell: (row) => `${fixed(row.gamma_low)}–${fixed(row.gamma_high)}` },
      column("r2_out", "r² of predictions", fixed, "each model predicted from the others; below 0 is worse than their mean"),
    ],
  });
}

function bestTable(comparison) {
  const { concepts, models, best } = comparison;
  return dataTable({
    name: "best", wide: true, rows: range(concepts.length), sort: "m0.desc", caption: "A number leads to the concept in that model.",
    columns: [{ key: "concept", label: "concept", value: (c) => concepts[c] },
      ...models.map((name, m) => ({ key: `m${m}`, label: name, number: true, value: (c) => best[m][c], cell: (c) => link(modelHref(name, "concept", concepts[c]), fixed(best[m][c])) }))],
  });
}
