// What a unit writes in a causal model: its direct effect on the output tokens.

const UNIT_OF_EFFECT = "Effect: what one unit of activation adds to the token's logit by the last norm and the output layer alone, before that norm divides. Deviations: from the mean of the unit's effects on all tokens, in their standard deviations (the largest of 50,000 draws from a normal distribution would be about 4). A unit acts through later blocks, too: tokens that say nothing do not mean that it does nothing.";

const SIGN_WORDS = {
  "-1": "It is one factor of a product (gate × up), which is negative at the tokens that excite it most: effects are shown as they are there, the opposite of its row.",
  0: "It is one factor of a product (gate × up), of which the sign at the tokens that excite it most varies or is not known: where it is negative, promoted and suppressed change places.",
};

function writesTables(model, unit, i, at) {
  const { writes } = model;
  if (i === undefined) return [note("The report keeps this of the best units of each concept; this one is not among them.")];
  if (!writes) return [note("Not computed: the result was made without the model at hand, or before this was.")];
  if (!writes.any) return [note("Nothing directly: an encoder, a model without an output layer, or only units that act through attention.")];
  if (!writes.token[i]) return [note("Computed for the very best units of each concept, those with an interval; this one is not among them.")];
  const count = writes.token[i].length / 2;
  if (!count) return [note(`Nothing directly: units of ${at.site} have no direct effect on output tokens; they act through attention.`)];
  const turned = writes.sign[i] < 0 ? -1 : 1;
  const rows = writes.token[i].map((token, n) => ({ rank: (n % count) + 1, text: writes.texts[token], effect: turned * writes.effect[i][n], deviations: turned * writes.deviations[i][n] }));
  const halves = [rows.slice(0, count), rows.slice(count)];
  const [up, down] = turned < 0 ? halves.reverse() : halves;
  const table = (side, part) => dataTable({
    name: side, file: `unit_${unit}_${side}`, rows: part, sort: "rank.asc", caption: `Tokens that it ${side === "promoted" ? "promotes" : "suppresses"} most.`,
    columns: [
      { key: "token", label: "token", value: (row) => row.text, cell: (row) => h("code", { class: "token" }, visible(row.text)) },
      { key: "rank", label: "rank", number: true, value: (row) => row.rank },
      { key: "effect", label: "effect", number: true, value: (row) => row.effect, cell: (row) => size(row.effect) },
      { key: "deviations", label: "deviations", number: true, value: (row) => row.deviations, cell: (row) => fixed(row.deviations, 1) },
    ],
  });
  return [
    SIGN_WORDS[writes.sign[i]] ? h("p", {}, SIGN_WORDS[writes.sign[i]]) : null,
    h("div", { class: "pair" }, table("promoted", up), table("suppressed", down)),
    note(UNIT_OF_EFFECT),
  ];
}

// White space as signs.
const visible = (text) => text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll("\r", "\\r");
