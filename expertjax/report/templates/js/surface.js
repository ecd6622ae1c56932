// What needs no model: the form of the sentences and their words, beside the units.

const knowsSurface = (model) => Boolean(model.concepts.surface);

// How the best unit stands to the best feature of the surface, in words.
function surfaceWords(model, c) {
  const s = model.concepts.surface;
  const best = model.concepts.best[c];
  const bar = `Without a model, ${s.feature[c]} reaches an AP of ${fixed(s.ap[c])}; its 95% interval ends at ${fixed(s.high[c])}, which a unit has to exceed. `;
  if (s.above[c]) return h("p", {}, bar, `The best unit’s ${fixed(best)} does: it is above the surface, as are ${whole(s.n_above[c])} of ${whole(model.map.num_units)} units.`);
  return h("p", { class: "warning" }, bar, h("strong", {}, `No unit is above the surface: the best unit’s ${fixed(best)} is no more than that.`), " What the unit knows may be this and not the concept.");
}

// The best unit on sentences that the most telling form does not tell apart.
function withoutWords(model, c) {
  const s = model.concepts.surface;
  if (!s.form[c]) return h("p", {}, "Nothing that can be counted in the sentences tells the concept better than luck would.");
  const [nPos, nNeg] = [s.n_pos_without[c], s.n_neg_without[c]];
  if (s.ap_without[c] === null) return h("p", {}, `Of what can be counted in the sentences, ${s.form_said[c]} tells the concept best. Without that too few sentences are left for an AP.`);
  const chance = nPos / (nPos + nNeg);
  const how = s.is_lacking[c] ? `without ${s.form_said[c]}` : `matched in ${s.form_said[c]}`;
  return h("p", {}, `On the ${whole(nPos)} positives and ${whole(nNeg)} negatives ${how}, the same unit’s AP is `, h("strong", {}, fixed(s.ap_without[c])), `, where chance is ${fixed(chance)}; on all sentences it is ${fixed(model.concepts.best[c])}, where chance is ${fixed(model.concepts.chance[c])}.`);
}

function surfaceSection(model, c) {
  if (!knowsSurface(model)) return null;
  const s = model.concepts.surface;
  const { features } = s;
  const rows = features[c].filter(([name]) => name !== "all words together").map(([name, ap, kind]) => ({ name, ap, kind }));
  const unit = model.concepts.best_unit[c];
  rows.push({ name: `best unit, ${model.unitName(unit)}`, ap: model.concepts.best[c], kind: "unit", unit });
  return section("surface", "Is it the concept, or the surface?",
    surfaceWords(model, c), withoutWords(model, c),
    dataTable({
      name: "surface", file: `${model.key(c)}_surface`, rows, sort: "ap.desc",
      caption: "AP of what can be counted in each sentence, of all counts together (a linear model, fitted on other sentences than those it scores), and of the word that tells the concept best, chosen likewise; beside the best unit.",
      columns: [
        { key: "name", label: "feature", value: (row) => row.name, cell: (row) => (row.unit === undefined ? row.name : unitLink(model, row.unit)) },
        { key: "kind", label: "kind", value: (row) => row.kind },
        { key: "ap", label: "AP", number: true, value: (row) => row.ap, cell: (row) => fixed(row.ap) },
        { key: "over", label: "over chance", number: true, value: (row) => row.ap - model.concepts.chance[c], cell: (row) => fixed(row.ap - model.concepts.chance[c]) },
      ],
    }),
    h("p", {}, `A linear model of all words, fitted to the concept with a weight for each, reaches ${fixed(s.words[c])}: so much of the concept is in its words. No single unit is expected to, and no verdict depends on it.`));
}

function surfaceColumns(model) {
  if (!knowsSurface(model)) return [];
  const s = model.concepts.surface;
  return [
    { key: "surface", label: "surface", number: true, title: "AP of the best feature that needs no model", value: (c) => s.ap[c], cell: (c) => fixed(s.ap[c]) },
    { key: "feature", label: "by", value: (c) => s.feature[c] },
    { key: "is_above_surface", label: "above surface", value: (c) => (s.above[c] ? "yes" : "no"), cell: (c) => aboveFlag(s.above[c]) },
    { key: "without", label: "AP without form", number: true, title: "AP of the best unit on sentences that the most telling form does not tell apart", value: (c) => s.ap_without[c], cell: (c) => fixed(s.ap_without[c]) },
  ];
}
