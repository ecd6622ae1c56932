// Search in the names of concepts and units and in the words of sentences.

const SEARCH_LIMIT = 25;

class SearchIndex {
  constructor(model) {
    this.concepts = model.concepts.key.map((key, c) => `${model.short(c)} ${key}`.toLowerCase());
    this.units = model.units.unit.map((unit) => `${model.unitName(unit)} ${unit}`.toLowerCase());
    this.sentences = model.sentences.map((text) => text.toLowerCase());
  }

  // Places of the texts that hold all words, for each of the three lists.
  find(query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const search = (texts) => {
      const found = [];
      if (!words.length) return found;
      texts.forEach((text, i) => { if (words.every((word) => text.includes(word))) found.push(i); });
      return found;
    };
    return { concepts: search(this.concepts), units: search(this.units), sentences: search(this.sentences) };
  }
}

// Which sentences are searched.
function keptSentences(model) {
  const kept = model.sentences.length;
  if (!kept) return note("No sentences are searched: responses were not kept.");
  const of = model.pool === null ? "" : `, of ${whole(model.pool)} in the pool`;
  return note(`Of sentences, the ${whole(kept)} that this report keeps are searched${of}: those that excite its units most, and those that do not excite an expert.`);
}

function searchPage(model) {
  const results = h("div", { id: "results" });
  app.onSearch = (query) => results.replaceChildren(...searchResults(model, query));
  app.onSearch(app.route.params.get("q") || "");
  return page("Search", [results]);
}

// A unit that is named in full is found although it has no page of its own.
function withNamed(model, units, query) {
  const named = model.unitOf(query.trim());
  return named === null ? units : [named, ...units.filter((unit) => unit !== named)];
}

function bestOf(model, unit) {
  const i = model.places.get(unit);
  return i === undefined ? "" : ` ${model.short(model.units.concepts[i][0])} ${fixed(model.units.ap[i][0])}`;
}

function searchResults(model, query) {
  const start = performance.now();
  model.index ??= new SearchIndex(model);
  const found = model.index.find(query);
  const parts = [
    ["concept", found.concepts, (c) => [withKey(conceptLink(model, c), model.beside(c)), ` best AP ${fixed(model.concepts.best[c])}`]],
    ["unit", withNamed(model, found.units.map((i) => model.units.unit[i]), query), (unit) => [unitLink(model, unit), bestOf(model, unit)]],
    ["sentence", found.sentences, (place) => [link(href("sentence", sentenceNumber(model, place)), model.sentences[place])]],
  ];
  const told = parts.map(([name, places]) => plural(places.length, name)).join(", ");
  const status = h("p", { role: "status" }, query.trim() ? `${told} for “${query.trim()}”.` : "Type a concept, a unit such as mlp.c_fc[12], or words of a sentence.");
  const lists = parts.filter(([, places]) => places.length).map(([name, places, show]) => section(`found-${name}`, `${name[0].toUpperCase()}${name.slice(1)}s (${whole(places.length)})`,
    h("ul", { class: "found" }, places.slice(0, SEARCH_LIMIT).map((place) => h("li", { dir: name === "sentence" ? "auto" : null }, ...show(place)))),
    places.length > SEARCH_LIMIT ? note(`The first ${SEARCH_LIMIT} are shown; more words find fewer.`) : null));
  status.dataset.milliseconds = (performance.now() - start).toFixed(2);
  return [status, keptSentences(model), ...lists];
}
