// One concept: how good its units are, where they are, what excites them.

function conceptPage(model, key) {
  const c = model.rows.get(key);
  if (c === undefined) return missing(`Concept ${key}`, "The report has no concept of this name.");
  const k = model.concepts;
  const top = model.top[c];
  return page(model.short(c), [
    conceptWords(model, c),
    facts([
      ["best AP", fixed(k.best[c])],
      model.held_out && ["its AP on held-out sentences", fixed(k.held_out[c])],
      ["chance (share of positives)", fixed(k.chance[c])],
      ["5% threshold", fixed(k.threshold[c])],
      ["units above it", `${whole(k.above[c])} of ${whole(model.map.num_units)}`],
      [`experts at γ = ${model.gamma}`, whole(k.experts[c])],
      knowsSurface(model) && ["without a model, at most", fixed(k.surface.high[c])],
      ["positives, negatives", `${whole(k.n_pos[c])}, ${whole(k.n_neg[c])}`],
    ]),
    section("distribution", "How good its units are", h("div", { class: "pair" }, distributionChart(model, c), conceptOver(model, c))),
    surfaceSection(model, c),
    section("where", "Where its experts are", conceptLayers(model, c)),
    top.unit.length ? section("top", "Top units", topTable(model, c)) : null,
    top.unit.length ? exciting(model, c) : null,
    missedSection(model, c),
    section("nearest", "Nearest concepts", nearestTable(model, c)),
  ], { kicker: `Concept · ${model.key(c)}` });
}

function conceptWords(model, c) {
  const k = model.concepts;
  const parts = [`${plural(k.n_pos[c], "positive")} and ${plural(k.n_neg[c], "negative")}, so chance is ${fixed(k.chance[c])}. `];
  if (k.threshold[c] === null) parts.push("These are so few sentences that no AP could be above chance. ");
  else if (k.above[c] > 0) {
    parts.push("The best AP, ", h("strong", {}, fixed(k.best[c])), ", is above chance; ",
      `${whole(k.above[c])} of ${whole(model.map.num_units)} units ${k.above[c] === 1 ? "reaches" : "reach"} the 5% threshold, ${fixed(k.threshold[c])}. `);
  } else parts.push(`The best AP, ${fixed(k.best[c])}, is below the 5% threshold, ${fixed(k.threshold[c])}: among so many units, luck alone may reach as much. `);
  if (knowsSurface(model) && k.above[c] > 0 && !k.surface.above[c]) parts.push(h("strong", {}, "No unit is above the surface"), `: ${k.surface.feature[c]} tells it as well as any unit, see below. `);
  parts.push(k.experts[c]
    ? `${whole(k.experts[c])} of ${whole(model.map.num_units)} units ${k.experts[c] === 1 ? "is an expert" : "are experts"} at γ = ${model.gamma}.`
    : `No unit is an expert at γ = ${model.gamma}; the top units come closest.`);
  return h("p", { class: "lead" }, ...parts);
}

function distributionChart(model, c) {
  const k = model.concepts;
  const law = model.laws[`${k.n_pos[c]},${k.n_neg[c]}`];
  const observed = k.observed[c];
  const middles = range(100).map((i) => (i + 0.5) / 100);
  return chart({
    title: "AP of all units",
    alt: `Best ${fixed(k.best[c])}; the line is how many units chance would put there if the labels were permuted. Numbers of units on a log scale.`,
    spec: (colours) => {
      const lines = [marker(k.chance[c], colours.quiet, `chance`, "dot", "right"), marker(model.gamma, colours.text, `γ`, "solid")];
      if (k.threshold[c] !== null) lines.push(marker(k.threshold[c], colours.orange, "5%", "dash"));
      if (knowsSurface(model)) lines.push(marker(k.surface.high[c], colours.green, "surface", "dashdot", k.surface.high[c] > 0.8 ? "right" : "left"));
      const shown = (values) => values.map((n) => (n >= 0.5 ? n : null));
      return {
        data: [
          { type: "bar", name: "units", x: middles, y: observed, width: 0.01, base: 0.5, marker: { color: colours.blue, opacity: 0.75 }, customdata: observed, hovertemplate: "AP %{x:.3f} ± 0.005: %{customdata} units<extra></extra>" },
          { type: "scatter", mode: "lines", name: "expected by chance", x: middles, y: shown(law), line: { color: colours.orange, width: 2, shape: "hvh" }, hovertemplate: "by chance %{y:.4g}<extra></extra>" },
        ].map((trace) => (trace.type === "bar" ? { ...trace, y: observed.map((n) => Math.max(n - 0.5, 0)) } : trace)),
        layout: {
          xaxis: { range: [0, 1], title: { text: "AP" } }, yaxis: { type: "log", title: { text: "units (log)" }, range: [Math.log10(0.5), Math.log10(2 * Math.max(...observed, 5))] },
          shapes: lines.map((line) => line.shape), annotations: lines.map((line) => line.annotation), bargap: 0, margin: { l: 56, r: 16, t: 40, b: 88 }, height: 380,
          legend: { orientation: "h", y: -0.24, yanchor: "top", x: 0 },
        },
      };
    },
    table: () => ({
      name: "distribution", caption: "Units in each hundredth of AP, and how many chance would put there.", rows: range(100).filter((i) => observed[i] || law[i] >= 0.001),
      columns: [
        { key: "from", label: "AP from", number: true, value: (i) => i / 100, cell: (i) => fixed(i / 100, 2) },
        { key: "units", label: "units", number: true, value: (i) => observed[i], cell: (i) => whole(observed[i]) },
        { key: "chance", label: "expected by chance", number: true, value: (i) => law[i], cell: (i) => (law[i] === null ? "n/a" : law[i] < 0.001 ? "< 0.001" : law[i].toPrecision(4)) },
      ],
    }),
  });
}

function conceptOver(model, c) {
  const { gammas } = model.over;
  const counts = model.concepts.over[c];
  return chart({
    title: "Experts over γ",
    alt: `From ${whole(counts[0])} at γ = 0.5 down to ${whole(counts.at(-1))} at γ = 1. A unit below the 5% threshold counts nowhere.`,
    spec: (colours) => ({
      data: [{ type: "scatter", mode: "lines", name: "experts", x: gammas, y: counts.map((n) => (n > 0 ? n : null)), line: { color: colours.green, width: 2, shape: "vh" } }],
      layout: { xaxis: { range: [0.5, 1], title: { text: "expert threshold γ" } }, yaxis: { type: "log", title: { text: "experts (log)" } }, shapes: [marker(model.gamma, colours.text).shape], showlegend: false },
    }),
    table: () => ({
      name: "over", caption: "Experts of the concept at each threshold.", rows: range(gammas.length),
      columns: [{ key: "gamma", label: "γ", number: true, value: (i) => gammas[i], cell: (i) => fixed(gammas[i], 2) }, { key: "experts", label: "experts", number: true, value: (i) => counts[i], cell: (i) => whole(counts[i]) }],
    }),
  });
}

function conceptLayers(model, c) {
  const counts = model.layerTable(c);
  const totals = counts.map(sum);
  if (!sum(totals)) {
    const best = model.layers.best[c];
    const layer = model.layers.layers[best.indexOf(Math.max(...best))];
    return h("p", {}, `No unit has AP ≥ ${model.gamma} for it. The best AP, ${fixed(model.concepts.best[c])}, is in layer ${layer}.`);
  }
  const with_ = range(totals.length).filter((l) => totals[l]).sort((a, b) => totals[b] - totals[a]);
  const words = with_.slice(0, 4).map((l) => `layer ${model.layers.layers[l]} (${whole(totals[l])})`).join(", ");
  return layerChart(model, counts, "Experts of the concept per layer", `In ${plural(with_.length, "layer")}; most in ${words}.`);
}

// Only the first units of a concept are resampled.
function intervalWords(top) {
  const known = top.low.filter((low) => low !== null).length;
  if (known === top.low.length) return "the AP in 95% of resamplings of the sentences";
  if (!known) return "n/a, none was computed (--bootstrap_top)";
  return `the AP in 95% of resamplings of the sentences, computed for the first ${whole(known)} units alone (--bootstrap_top); n/a from there on`;
}

function topTable(model, c) {
  const top = model.top[c];
  const column = (key, label, show, more = {}) => ({ key, label, number: true, value: (i) => top[key][i], cell: (i) => show(top[key][i]), ...more });
  return dataTable({
    name: "top", file: `${model.key(c)}_top_units`, wide: true, rows: range(top.unit.length), sort: "rank.asc", limit: 15,
    caption: `Units of highest AP. Interval: ${intervalWords(top)}. on_p50 and on_p90: 50th and 90th percentile of the responses to positives; off_mean: mean response to negatives.`,
    columns: [
      { key: "unit", label: "unit", value: (i) => model.unitName(top.unit[i]), cell: (i) => unitLink(model, top.unit[i]) },
      { key: "rank", label: "rank", number: true, value: (i) => i + 1 },
      column("ap", "AP", fixed),
      { key: "interval", label: "interval", number: true, title: intervalWords(top), value: (i) => top.low[i], cell: (i) => interval(top.low[i], top.high[i]) },
      top.held_out && column("held_out", "held-out AP", fixed),
      { key: "above", label: "above chance", value: (i) => (top.above[i] ? "yes" : "no"), cell: (i) => aboveFlag(top.above[i]) },
      top.above_surface && { key: "above_surface", label: "above surface", value: (i) => (top.above_surface[i] ? "yes" : "no"), cell: (i) => aboveFlag(top.above_surface[i]) },
      top.without && column("without", "AP without form", fixed),
      { key: "expert", label: "expert", value: (i) => (top.expert[i] ? "yes" : "no"), cell: (i) => aboveFlag(top.expert[i]) },
      { key: "layer", label: "layer", number: true, value: (i) => model.unitAt(top.unit[i])?.layer },
      { key: "site", label: "site", value: (i) => model.unitAt(top.unit[i])?.site },
      column("on_p50", "on_p50", size), column("on_p90", "on_p90", size), column("off_mean", "off_mean", size),
      { key: "number", label: "unit number", number: true, value: (i) => top.unit[i] },
    ].filter(Boolean),
  });
}

function exciting(model, c) {
  const top = model.top[c];
  const kept = top.unit.filter((unit) => model.units.sentences[model.places.get(unit)].length);
  if (!kept.length) return section("excite", "Sentences that excite its units", excitedTable(model, top.unit[0], c));
  const wanted = Number(app.route.params.get("unit"));
  const holder = h("div", {});
  const show = (unit) => {
    const i = top.unit.indexOf(unit);
    const places = model.units.sentences[model.places.get(unit)];
    const positive = places.filter((place) => model.label(c, place) === 1).length;
    holder.replaceChildren(
      h("p", {}, `AP ${fixed(top.ap[i])}, rank ${i + 1}: `, h("strong", {}, `${positive} of ${places.length} are positive`), ". ", link(href("unit", unit), "All about this unit")),
      excitedTable(model, unit, c));
  };
  const first = kept.includes(wanted) ? wanted : kept[0];
  show(first);
  return section("excite", "Sentences that excite its units",
    choice("Unit", kept.map((unit) => [unit, `${model.unitName(unit)}, AP ${fixed(top.ap[top.unit.indexOf(unit)])}`]), first,
      (value) => { keep("unit", value); show(Number(value)); }),
    holder);
}

function missedSection(model, c) {
  const { missed, missed_at: responses, unit } = model.top[c];
  if (!missed.length) return null;
  return section("missed", "Positives that do not excite its best unit",
    sentenceTable(model, missed.map((place, i) => ({ place, response: responses[i], label: 1 })), {
      name: "missed", file: `${model.key(c)}_missed`, labelled: false, sort: "response.asc",
      caption: `Positives of lowest response of ${model.unitName(unit[0])}: what it takes for no case of the concept.`,
    }));
}
