// Sentences, with the token at which a unit is maximal marked.

const sentenceNumber = (model, place) => model.sentence_numbers[place];

function labelFlag(label) {
  if (label === 1) return h("span", { class: "flag yes" }, "positive");
  if (label === 0) return h("span", { class: "flag no" }, "negative");
  return h("span", { class: "flag" }, "not in concept");
}

const labelText = (label) => (label === 1 ? "positive" : label === 0 ? "negative" : "not in concept");

// Offsets count characters as Python does: code points.
function marked(text, start, end) {
  const characters = Array.from(text);
  if (!(start >= 0 && end > start && end <= characters.length)) return [text];
  const cut = (from, to) => characters.slice(from, to).join("");
  return [cut(0, start), h("mark", {}, cut(start, end)), cut(end)];
}

// The sentences that excite a unit; with `c`, labelled as of that concept.
function excitedTable(model, unit, c = null) {
  const i = model.places.get(unit);
  if (i === undefined || !model.units.sentences[i].length) {
    return note("No sentences are kept of this unit: ", model.sentences.length
      ? "the report has those of the best units of each concept."
      : "responses were not kept.");
  }
  const { sentences, responses, marks } = model.units;
  const rows = sentences[i].map((place, n) => ({
    place, response: responses[i][n], start: marks[i][2 * n], end: marks[i][2 * n + 1],
    label: c === null ? null : model.label(c, place),
    class: c !== null && model.label(c, place) === 1 ? "positive" : null,
  }));
  const seen = rows.some((row) => row.start >= 0);
  return sentenceTable(model, rows, {
    name: "excited", file: `excited_${unit}`, labelled: c !== null, sort: "response.desc",
    caption: `Sentences of the whole pool that excite ${model.unitName(unit)} most.${seen ? " Marked: the token at which its response is maximal." : ""}`,
  });
}

function sentenceTable(model, rows, { name, file, caption, labelled, sort, ranked = false }) {
  return dataTable({
    name, file, caption, rows, sort,
    columns: [
      ranked && { key: "rank", label: "rank", number: true, head: false, value: (row) => row.rank },
      { key: "response", label: "response", number: true, head: false, value: (row) => row.response, cell: (row) => size(row.response) },
      labelled && { key: "label", label: "label", value: (row) => labelText(row.label), cell: (row) => labelFlag(row.label) },
      { key: "sentence", label: "sentence", class: "text", value: (row) => model.sentences[row.place], cell: (row) => sentenceCell(model, row) },
    ].filter(Boolean),
  });
}

function sentenceCell(model, row) {
  return h("span", {}, ...marked(model.sentences[row.place], row.start ?? -1, row.end ?? -1), " ",
    h("a", { class: "more", href: href("sentence", sentenceNumber(model, row.place)), "aria-label": `More about sentence ${sentenceNumber(model, row.place)}` }, "⋯"));
}

function sentencePage(model, id) {
  const place = model.sentence_numbers.indexOf(Number(id));
  if (place < 0 || id === "") return missing(`Sentence ${id}`, "The report keeps the sentences that excite its units most, and those that do not excite an expert.");
  const labels = range(model.numConcepts).map((c) => ({ c, label: model.label(c, place) })).filter((row) => row.label >= 0);
  const units = [];
  model.units.sentences.forEach((places, i) => {
    const n = places.indexOf(place);
    if (n >= 0) units.push({ unit: model.units.unit[i], rank: n + 1, response: model.units.responses[i][n], start: model.units.marks[i][2 * n], end: model.units.marks[i][2 * n + 1] });
  });
  const text = model.sentences[place];
  return page(`Sentence ${id}`, [
    h("blockquote", { dir: "auto" }, text),
    section("units", "Units that it excites most", units.length ? dataTable({
      name: "units", file: `sentence_${id}_units`, caption: "Units of the report that have it among their most exciting sentences.", rows: units, sort: "rank.asc",
      columns: [
        { key: "unit", label: "unit", value: (row) => model.unitName(row.unit), cell: (row) => unitLink(model, row.unit) },
        { key: "rank", label: "rank", value: (row) => row.rank },
        { key: "response", label: "response", number: true, value: (row) => row.response, cell: (row) => size(row.response) },
        { key: "token", label: "token", value: (row) => (row.start >= 0 ? Array.from(text).slice(row.start, row.end).join("") : ""), cell: (row) => (row.start >= 0 ? h("mark", {}, Array.from(text).slice(row.start, row.end).join("")) : "unknown") },
        conceptColumn(model, (row) => model.units.concepts[model.places.get(row.unit)][0], { label: "best concept" }),
      ],
    }) : note("None of those in the report.")),
    section("labels", "Its concepts", labels.length ? dataTable({
      name: "labels", file: `sentence_${id}_concepts`, caption: "Concepts in which it is labelled.", rows: labels, sort: "label.desc",
      columns: [
        conceptColumn(model, (row) => row.c),
        { key: "label", label: "label", value: (row) => labelText(row.label), cell: (row) => labelFlag(row.label) },
      ],
    }) : note("It is labelled in no concept.")),
  ]);
}
