// Several models side by side.

const MEASURES = {
  acquired: "acquired concepts", experts: "experts (pairs)", experts_share: "experts per unit and concept",
  units: "distinct expert units", units_share: "share of units that are experts",
};

function comparePage() {
  const { comparison } = app;
  const { params } = app.route;
  const benchmarks = Object.keys(comparison.rankings);
  const state = { measure: params.get("measure") in MEASURES ? params.get("measure") : "acquired", benchmark: benchmarks.includes(params.get("benchmark")) ? params.get("benchmark") : benchmarks[0] };
  const charts = h("div", {});
  const table = h("div", {});
  const show = () => {
    const ranking = comparison.rankings[state.benchmark] ?? null;
    charts.replaceChildren(h("div", { class: "pair" }, ...[presenceChart(comparison, state.measure), ranking && r2Chart(ranking, state.measure), ranking && scoresChart(comparison, ranking, state.measure)].filter(Boolean)));
    table.replaceChildren(...(ranking ? [...ranking.warnings.map((text) => h("p", { class: "warning" }, text)), rankingTable(ranking)] : []));
  };
  const set = (name) => (value) => { state[name] = value; keep(name, value); show(); };
  show();
  const shared = plural(comparison.concepts.length, "concept");
  return page("Models compared", [
    h("p", { class: "lead" }, `${plural(comparison.models.length, "model")}, compared by ${shared} that all of them have.`,
      comparison.above_surface ? " Only experts that are also above the surface count." : ""),
    ...comparison.warnings.map((text) => h("p", { class: "warning" }, text)),
    section("models", "Models", modelTable(comparison)),
    benchmarks.length ? section("ranking", "Do expert counts rank the models as the benchmark does?",
      benchmarks.length > 1 ? choice("Benchmark", benchmarks.map((name) => [name, name]), state.benchmark, set("benchmark")) : h("p", {}, `Benchmark: ${state.benchmark}.`), table) : null,
    section("presence", "Experts over γ", choice("Measure", Object.entries(MEASURES), state.measure, set("measure")), charts),
    section("depth", "Where the experts are", depthChart(comparison)),
    section("best", "Best AP of each concept in each model", bestTable(comparison)),
    comparison.agreement.length ? section("agreement", "Do models agree on which concepts share experts?", agreementTable(comparison)) : null,
  ]);
}

// Rows as the analysis names them.
function agreementTable(comparison) {
  const names = Object.keys(comparison.agreement[0]);
  return dataTable({
    name: "agreement", rows: comparison.agreement, caption: "Correlation of the overlaps of all pairs of concepts, between two models.",
    columns: names.map((name) => {
      const number = typeof comparison.agreement[0][name] === "number";
      return { key: name, label: name, number, value: (row) => row[name], cell: (row) => (typeof row[name] === "number" && !Number.isInteger(row[name]) ? fixed(row[name], 4) : row[name]) };
    }),
  });
}

const modelHref = (name, page_, id, params = {}) => `#/${page_}${id === null ? "" : `/${encodeURIComponent(id)}`}?${new URLSearchParams({ ...params, model: name })}`;

function modelTable(comparison) {
  const { measures, models, best, held_out: heldOut, above, at, num_units: numUnits, rankings } = comparison;
  const column = (key, label, value, show) => ({ key, label, number: true, value, cell: (m) => show(value(m)) });
  return dataTable({
    name: "models", rows: range(models.length), sort: "acquired.desc", caption: `Models by their experts at γ = ${comparison.gamma}; a name leads to the model.`,
    columns: [
      { key: "model", label: "model", value: (m) => models[m], cell: (m) => link(modelHref(models[m], "overview", null), models[m]) },
      ...Object.entries(rankings).map(([name, ranking], i) => column(`score${i}`, `score: ${name}`, (m) => ranking.scores[models[m]] ?? null, (x) => fixed(x))),
      column("acquired", "acquired concepts", (m) => measures.acquired[m][at], whole),
      column("above", "concepts above chance", (m) => above[m].filter((n) => n > 0).length, whole),
      comparison.surface && column("surface", "concepts above the surface", (m) => sum(comparison.surface.above[m]), whole),
      column("experts", "experts", (m) => measures.experts[m][at], whole),
      column("share", "share of units", (m) => measures.units_share[m][at], percent),
      column("best", "median best AP", (m) => median(best[m]), fixed),
      hasHeldOut(comparison) && column("held_out", "median held-out AP", (m) => medianKnown(heldOut[m]), fixed),
      column("units", "units", (m) => numUnits[m], whole),
    ].filter(Boolean),
  });
}

const hasHeldOut = (comparison) => comparison.held_out.some((of) => of.some((ap) => ap !== null));
const medianKnown = (values) => { const known = values.filter((value) => value !== null); return known.length ? median(known) : null; };
const isShare = (measure) => measure.endsWith("_share");
const shownAs = (measure) => (isShare(measure) ? percent : whole);

function gammaPlace(comparison, gamma) {
  const { gammas } = comparison;
  let at = 0;
  while (at + 1 < gammas.length && gammas[at + 1] <= gamma + 1e-9) at += 1;
  return at;
}

const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
const modelLine = (colours, m) => ({ width: 2, color: colours.series[m % 8], dash: DASHES[Math.floor(m / 8 + m) % 5] });

// Experts per thousand units of each layer, over its relative depth.
function depthChart(comparison) {
  const { models, depth, gamma } = comparison;
  const rows = depth.flatMap((of, m) => range(of.layer.length).map((l) => ({ m, l })));
  const most = models.map((name, m) => `${name}: layer ${depth[m].layer[depth[m].rate.indexOf(Math.max(...depth[m].rate))]}`);
  const some = depth.some((of) => sum(of.experts) > 0);
  return chart({
    title: `Experts at γ = ${gamma} by depth`, alt: some ? `Per 1,000 units of a layer; depth 0 is the input, 1 the output. Densest: ${most.slice(0, 6).join(", ")}.` : `No model has an expert at γ = ${gamma}.`,
    spec: (colours) => ({
      data: models.map((name, m) => ({ type: "scatter", mode: "lines+markers", name: plain(name), x: depth[m].depth, y: depth[m].rate, line: modelLine(colours, m), customdata: depth[m].layer, hovertemplate: "layer %{customdata}: %{y}<extra>%{fullData.name}</extra>" })),
      layout: { height: 400, xaxis: { range: [0, 1], title: { text: "relative depth of the layer" } }, yaxis: { title: { text: "experts per 1,000 units" }, rangemode: "tozero" } },
    }),
    table: () => ({
      name: "depth", caption: "Experts of each layer.", rows,
      columns: [{ key: "model", label: "model", value: ({ m }) => models[m] }, { key: "layer", label: "layer", number: true, value: ({ m, l }) => depth[m].layer[l] },
        { key: "depth", label: "depth", number: true, value: ({ m, l }) => depth[m].depth[l], cell: ({ m, l }) => fixed(depth[m].depth[l]) },
        { key: "experts", label: "experts", number: true, value: ({ m, l }) => depth[m].experts[l], cell: ({ m, l }) => whole(depth[m].experts[l]) },
        { key: "rate", label: "per 1,000 units", number: true, value: ({ m, l }) => depth[m].rate[l], cell: ({ m, l }) => size(depth[m].rate[l]) }],
    }),
  });
}

function presenceChart(comparison, measure) {
  const { gammas, models } = comparison;
  return chart({
    title: `X_γ: ${MEASURES[measure]}`, alt: `A line for each of ${models.length} models over the threshold γ.`,
    spec: (colours) => ({
      data: models.map((name, m) => ({ type: "scatter", mode: "lines", name: plain(name), x: gammas, y: comparison.measures[measure][m], line: modelLine(colours, m) })),
      layout: { height: 400, xaxis: { title: { text: "expert threshold γ" } }, yaxis: { title: { text: MEASURES[measure] }, rangemode: "tozero", tickformat: isShare(measure) ? ".2~%" : null } },
    }),
    table: () => ({
      name: "presence", caption: `${MEASURES[measure]} at each threshold.`, rows: range(gammas.length),
      columns: [{ key: "gamma", label: "γ", number: true, value: (g) => gammas[g], cell: (g) => fixed(gammas[g]) },
        ...models.map((name, m) => ({ key: `m${m}`, label: name, number: true, value: (g) => comparison.measures[measure][m][g], cell: (g) => shownAs(measure)(comparison.measures[measure][m][g]) }))],
    }),
  });
}

function r2Chart(ranking, measure) {
  const over = ranking.over[measure];
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
function scoresChart(comparison, ranking, measure) {
  const { models, measures } = comparison;
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
        { key: "count", label: MEASURES[measure], number: true, value: (m) => measures[measure][m][at], cell: (m) => shownAs(measure)(measures[measure][m][at]) },
        { key: "predicted", label: "predicted", number: true, value: (m) => predicted.get(models[m]) ?? null, cell: (m) => fixed(predicted.get(models[m])) }] }),
  });
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
  const { concepts, names, models, best, surface, held_out: heldOut } = comparison;
  const hasOut = hasHeldOut(comparison);
  const oneGroup = isOneGroup(concepts);
  return dataTable({
    name: "best", wide: true, rows: range(concepts.length), sort: "m0.desc", caption: `A number leads to the concept in that model.${hasOut ? " Held out: the AP of the same unit on sentences that took no part in selecting it." : ""}${surface ? " * No unit is above the surface: what can be counted in the sentences, or one word." : ""}`,
    columns: [{ key: "concept", label: "concept", value: (c) => concepts[c], order: (c) => names[c], cell: (c) => withKey(names[c], besideName(concepts[c], names[c], oneGroup)) },
      surface && { key: "surface", label: "surface", number: true, title: "AP of the best feature that needs no model", value: (c) => surface.ap[c], cell: (c) => fixed(surface.ap[c]) },
      surface && { key: "feature", label: "by", value: (c) => surface.feature[c] },
      ...models.flatMap((name, m) => [
        { key: `m${m}`, label: name, number: true, value: (c) => best[m][c], cell: (c) => h("span", {}, link(modelHref(name, "concept", concepts[c]), fixed(best[m][c])), surface && !surface.above[m][c] ? " *" : "") },
        hasOut && { key: `h${m}`, label: `${name}, held out`, number: true, value: (c) => heldOut[m][c], cell: (c) => fixed(heldOut[m][c]) }])].filter(Boolean),
  });
}
