// One unit: how it responds to its concepts, the sentences that excite it, what it
// writes, the concepts that it is good at.

function unitPage(model, id) {
  const unit = Number(id);
  const at = id === "" ? null : model.unitAt(unit);
  if (!at) return missing(`Unit ${id}`, "The model has no unit of this number.");
  const i = model.places.get(unit);
  const rows = i === undefined ? listedConcepts(model, unit) : model.units.concepts[i].map((c, n) => ({ c, ap: model.units.ap[i][n] }));
  const experts = rows.filter((row) => row.ap >= model.gamma - 5e-5).length;
  const best = rows[0];
  const atFirst = i === undefined ? null : model.units.atFirst[i];
  return page(h("code", {}, model.unitName(unit)), [
    best ? h("p", { class: "lead" }, "Best at ", conceptLink(model, best.c), `, with AP ${fixed(best.ap)} (chance ${fixed(model.concepts.chance[best.c])}). `,
      experts ? `It is an expert for ${plural(experts, "concept")} at γ = ${model.gamma}.` : `It is no expert at γ = ${model.gamma}.`) : null,
    facts([["unit number", String(unit)], ["layer", String(at.layer)], ["site", at.site], ["index in the site", String(at.index)], ["module", code(at.module)],
      ...(atFirst == null ? [] : [["maximum at the first token", `${(100 * atFirst).toFixed(1)}% of the sentences`]])]),
    atFirst > 0.9 ? note("Where a sentence begins decides most of its responses; with --skip_first=1 that token takes no part.") : null,
    section("responses", "How it responds to its concepts", spreadCharts(model, i)),
    section("excite", "What excites it", ...excitement(model, unit, i, best)),
    section("writes", "What it writes", ...writesTables(model, unit, i, at)),
    section("concepts", "Its concepts", rows.length ? unitConcepts(model, unit, rows, i === undefined) : note(`It is not among the ${model.map.k} best units of any concept; the report knows no more of it.`)),
  ], { kicker: `Unit ${unit} · layer ${at.layer} · ${at.site}`, title: model.unitName(unit) });
}

// The concept's own sentences beside those of the whole pool, which may hold few of it.
function excitement(model, unit, i, best) {
  if (i === undefined) return [note("The report keeps the sentences of the best units of each concept; this one is not among them.")];
  const whole_ = excitedTable(model, unit, best.c);
  if (!model.units.sentences[i].length) return [whole_];
  return [
    model.units.own[i].length ? h("div", { class: "pair" }, ownTable(model, unit, i, best.c), whole_) : whole_,
    note("Labels are those in ", conceptLink(model, best.c), ", its best concept. A sentence that is not in the concept was not judged: it may be a case of it all the same."),
  ];
}

function ownTable(model, unit, i, c) {
  const { own, own_at, own_rank, sentences, marks } = model.units;
  const rows = own[i].map((place, n) => {
    const known = sentences[i].indexOf(place);
    return {
      place, response: own_at[i][n], rank: own_rank[i][n], label: model.label(c, place), class: model.label(c, place) === 1 ? "positive" : null,
      start: known < 0 ? -1 : marks[i][2 * known], end: known < 0 ? -1 : marks[i][2 * known + 1],
    };
  });
  return sentenceTable(model, rows, {
    name: "own", file: `own_${unit}`, labelled: true, ranked: true, sort: "rank.asc",
    caption: `Sentences labelled in ${model.short(c)} that excite it most, and the negatives of highest response, whatever their rank. Rank: among ${whole(model.concepts.n_pos[c])} positives and ${whole(model.concepts.n_neg[c])} negatives.`,
  });
}

// Of a unit without a page of its own: the concepts among whose best units it is.
function listedConcepts(model, unit) {
  const rows = [];
  model.map.top.forEach((units, c) => {
    const n = units.indexOf(unit);
    if (n >= 0) rows.push({ c, ap: model.map.ap[c][n] });
  });
  return rows.sort((a, b) => b.ap - a.ap);
}

function unitConcepts(model, unit, rows, partly) {
  const k = model.concepts;
  const rank = (row) => { const n = model.map.top[row.c].indexOf(unit); return n < 0 ? null : n + 1; };
  const rest = model.numConcepts - rows.length;
  return dataTable({
    name: "concepts", file: `unit_${unit}_concepts`, rows, sort: "ap.desc",
    caption: partly ? `Concepts among whose ${model.map.k} best units it is.` : rest ? `The ${rows.length} concepts of highest AP, of ${whole(model.numConcepts)}.` : "AP for every concept.",
    columns: [
      conceptColumn(model, (row) => row.c),
      { key: "ap", label: "AP", number: true, value: (row) => row.ap, cell: (row) => fixed(row.ap) },
      { key: "chance", label: "chance", number: true, value: (row) => k.chance[row.c], cell: (row) => fixed(k.chance[row.c]) },
      { key: "threshold", label: "5% threshold", number: true, value: (row) => k.threshold[row.c], cell: (row) => fixed(k.threshold[row.c]) },
      { key: "above", label: "above chance", value: (row) => (aboveAt(k, row) ? "yes" : "no"), cell: (row) => aboveFlag(aboveAt(k, row)) },
      { key: "expert", label: "expert", value: (row) => (row.ap >= model.gamma - 5e-5 ? "yes" : "no"), cell: (row) => aboveFlag(row.ap >= model.gamma - 5e-5) },
      { key: "rank", label: "rank among units", number: true, title: `n/a: beyond ${model.map.k}`, value: rank, cell: (row) => rank(row) ?? `> ${model.map.k}` },
    ],
  });
}

const aboveAt = (k, row) => k.threshold[row.c] !== null && row.ap >= k.threshold[row.c] - 5e-5;
