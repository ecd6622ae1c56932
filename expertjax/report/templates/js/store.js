// The page's data, inflated when they are first needed.

async function inflate(id) {
  const text = document.getElementById(id).textContent;
  const binary = atob(text.trim());
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

class Model {
  constructor(payload, number) {
    Object.assign(this, payload);
    this.number = number;
    this.rows = new Map(this.concepts.key.map((key, c) => [key, c]));
    this.places = new Map(this.units.unit.map((unit, i) => [unit, i]));
    this.labels = new Map();
    this.oneGroup = isOneGroup(this.concepts.key);
  }

  get numConcepts() { return this.concepts.key.length; }

  key(c) { return this.concepts.key[c]; }

  // What people call it; no two concepts of a model alike.
  short(c) { return this.concepts.name[c]; }

  beside(c) { return besideName(this.key(c), this.short(c), this.oneGroup); }

  // Rows of concepts, best AP first.
  get order() {
    const { best } = this.concepts;
    return range(this.numConcepts).sort((a, b) => best[b] - best[a] || a - b);
  }

  // Module, index, layer and site of any unit of the model.
  unitAt(unit) {
    const { runs } = this;
    let low = 0;
    let high = runs.unit.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (runs.unit[middle] <= unit) low = middle;
      else high = middle - 1;
    }
    const offset = unit - runs.unit[low];
    if (!(offset >= 0 && offset < runs.count[low])) return null;
    return { module: runs.module[low], index: runs.index[low] + offset, layer: runs.layer[low], site: runs.site[low] };
  }

  // The unit of a number, or of a name as "module[index]"; null if there is none.
  unitOf(text) {
    if (/^\d+$/.test(text)) return this.unitAt(Number(text)) ? Number(text) : null;
    const [, module, index] = text.match(/^(\S+)\[(\d+)\]$/) || [];
    const { runs } = this;
    const r = runs.module.findIndex((name, i) => name === module && index >= runs.index[i] && index < runs.index[i] + runs.count[i]);
    return r < 0 ? null : runs.unit[r] + Number(index) - runs.index[r];
  }

  unitName(unit) {
    const at = this.unitAt(unit);
    return at ? `${at.module}[${at.index}]` : `unit ${unit}`;
  }

  // 1 a positive of the concept, 0 a negative, -1 neither.
  label(c, place) {
    if (!this.labels.has(c)) {
      const of = new Map();
      this.members[c].forEach((steps, i) => {
        let at = 0;
        for (const step of steps) { at += step; of.set(at, 1 - i); }
      });
      this.labels.set(c, of);
    }
    return this.labels.get(c).get(place) ?? -1;
  }

  shared(a, b) { return a > b ? this.map.shared[a][b] : this.map.shared[b][a]; }

  // Experts at gamma of a concept, [layers][sites]; of all concepts without one.
  layerTable(c = null) {
    const { layers, sites, experts } = this.layers;
    const table = layers.map(() => sites.map(() => 0));
    for (const row of c === null ? range(this.numConcepts) : [c]) {
      experts[row][0].forEach((cell, i) => {
        table[Math.floor(cell / sites.length)][cell % sites.length] += experts[row][1][i];
      });
    }
    return table;
  }
}

const loaded = new Map();

function loadModel(number) {
  if (!loaded.has(number)) {
    loaded.set(number, inflate(`model-${number}`).then((text) => new Model(JSON.parse(text), number)));
  }
  return loaded.get(number);
}
