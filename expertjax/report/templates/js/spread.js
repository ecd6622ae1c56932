// How a unit responds to the positives and negatives of its best concepts: a small
// histogram for each, positives above the line and negatives below it.

function spreadCharts(model, i) {
  if (i === undefined) return note("The report keeps the responses of the best units of each concept; this one is not among them.");
  const spread = model.units.spreads[i];
  if (!spread) {
    return note(model.sentences.length
      ? "The report counts the responses of the very best units of each concept; this one is not among them."
      : "Responses were not kept.");
  }
  const rows = spread.counts.map((counts, n) => ({ c: model.units.concepts[i][n], ap: model.units.ap[i][n], counts }));
  return h("div", {},
    h("p", { class: "note" }, h("span", { class: "swatch up" }), " positives, above the line; ", h("span", { class: "swatch down" }), " negatives, below it; as shares of each, in ",
      `${spread.counts[0][0].length} bins. The range is the same for all; the outer bins also hold what lies beyond it.`),
    h("div", { class: "spreads" }, rows.map((row) => spreadChart(model, row, spread.range))),
    spreadNumbers(model, rows, spread.range));
}

function spreadChart(model, { c, ap, counts }, [low, high]) {
  const shares = counts.map((of) => of.map((count) => count / Math.max(1, sum(of))));
  const most = Math.max(...shares.flat(), 1e-9);
  const half = (of, side) => h("div", { class: side ? "down" : "up" }, of.map((share) => {
    const bar = h("i");
    bar.style.height = `${(100 * share) / most}%`;
    return bar;
  }));
  const [up, down] = counts.map((of) => low + (high - low) * middleBin(of));
  const words = `Half of ${plural(sum(counts[0]), "positive")} respond with about ${size(up)} or more, half of ${plural(sum(counts[1]), "negative")} with about ${size(down)} or more.`;
  return h("figure", { class: "spread" },
    h("figcaption", {}, conceptLink(model, c), ` AP ${fixed(ap)}`),
    h("div", { class: "card" },
      h("div", { role: "img", "aria-label": `Responses to ${model.short(c)}. ${words}` }, shares.map(half)),
      h("div", { class: "ends" }, h("span", {}, size(low)), h("span", {}, "response"), h("span", {}, size(high)))),
    note(words));
}

// Where the middle of some counted responses lies, as a share of the range.
function middleBin(counts) {
  const half = sum(counts) / 2;
  let before = 0;
  const bin = counts.findIndex((count) => { before += count; return before >= half; });
  return (bin + 0.5) / counts.length;
}

function spreadNumbers(model, rows, [low, high]) {
  const bins = rows[0].counts[0].length;
  const from = (bin) => low + ((high - low) * bin) / bins;
  const numbers = h("details", { class: "numbers" }, h("summary", {}, "Numbers as a table"));
  numbers.addEventListener("toggle", () => {
    if (!numbers.open || numbers.children.length > 1) return;
    numbers.append(dataTable({
      name: "responses", caption: "Sentences in each bin of the response.", rows: range(bins),
      columns: [
        { key: "from", label: "response from", number: true, value: from, cell: (bin) => size(from(bin)) },
        ...rows.flatMap((row, n) => ["positives", "negatives"].map((label, side) => ({
          key: `${label}${n}`, label: `${model.short(row.c)}: ${label}`, number: true, value: (bin) => row.counts[side][bin], cell: (bin) => whole(row.counts[side][bin]),
        }))),
      ],
    }));
  });
  return numbers;
}
