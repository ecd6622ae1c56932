// Charts by plotly.js, which is inflated when the first chart comes into view. Each
// has a text that says what it shows, and its numbers as a table.

let plotlyPromise = null;

function loadPlotly() {
  plotlyPromise ??= inflate("chart-library").then((source) => {
    const script = document.createElement("script");
    script.textContent = source; // the page's policy knows its hash
    document.head.append(script);
    if (!window.Plotly) throw new Error("the chart library was not run");
    return window.Plotly;
  });
  return plotlyPromise;
}

function palette() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    text: of("text"), quiet: of("quiet"), line: of("line"), card: of("card"),
    blue: of("c-blue"), orange: of("c-orange"), green: of("c-green"),
    series: range(8).map((i) => of(`c-${i}`)),
    dark: style.colorScheme.trim() === "dark",
  };
}

const isTouched = () => matchMedia("(pointer: coarse)").matches;

// Plotly reads some markup in texts.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function mergeLayout(colours, layout) {
  const axis = { gridcolor: colours.line, zerolinecolor: colours.line, linecolor: colours.line, automargin: true };
  const axes = Object.fromEntries(Object.entries(layout).filter(([name]) => /^[xy]axis/.test(name))
    .map(([name, own]) => [name, { ...axis, ...own }]));
  return {
    paper_bgcolor: colours.card, plot_bgcolor: colours.card,
    font: { color: colours.text, family: "system-ui, sans-serif", size: 13 },
    margin: { l: 56, r: 16, t: 16, b: 48 }, height: 340, hovermode: "closest",
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    dragmode: isTouched() ? false : "zoom",
    ...layout, ...axes,
  };
}

// `spec(colours)` gives Plotly's { data, layout }; `table` the arguments of dataTable.
// `zoomed`: keeps its buttons where there is no mouse to hover, as they would cover legends.
function chart({ title, alt, spec, table, onClick = null, zoomed = false }) {
  const plot = h("div", { class: "plot", role: "group", "aria-label": `Chart. ${title}. ${alt}` }, h("p", { class: "note" }, "Drawing …"));
  const numbers = h("details", { class: "numbers" }, h("summary", {}, "Numbers as a table"));
  numbers.addEventListener("toggle", () => {
    if (numbers.open && numbers.children.length === 1) numbers.append(dataTable(table()));
  });
  const figure = h("figure", {}, h("div", { class: "card" }, plot), h("figcaption", {}, h("strong", {}, `${title}. `), alt), numbers);
  const draw = async () => {
    try {
      const plotly = await loadPlotly();
      if (!plot.isConnected) return;
      const colours = palette();
      const { data, layout: own } = spec(colours);
      const layout = mergeLayout(colours, own);
      plot.style.height = `${layout.height}px`; // which it keeps when the window changes
      const first = !plot.dataset.drawn;
      if (first) plot.replaceChildren();
      plot.parentElement.toggleAttribute("data-buttons", zoomed || !isTouched());
      await plotly.react(plot, data, layout, { ...CHART_CONFIG, displayModeBar: isTouched() ? zoomed : "hover" });
      if (first && onClick) plot.on("plotly_click", (event) => onClick(event.points[0]));
      plot.dataset.drawn = "yes";
    } catch (error) {
      plot.replaceChildren(note(`This browser cannot draw the chart (${error.message}); its numbers are in the table below.`));
    }
  };
  const watch = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) { watch.disconnect(); draw(); }
  }, { rootMargin: "200px" });
  watch.observe(plot);
  app.cleanups.push(() => { watch.disconnect(); if (plot.dataset.drawn) window.Plotly.purge(plot); });
  app.redraws.push(() => { if (plot.dataset.drawn) draw(); });
  return figure;
}

const CHART_CONFIG = {
  displaylogo: false, responsive: true,
  modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
  toImageButtonOptions: { format: "svg" },
};

const marker = (x, colour, text, dash = "solid", anchor = "left") => ({
  shape: { type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: colour, width: 1.5, dash } },
  annotation: { x, xref: "x", yref: "paper", y: 1, text, showarrow: false, xanchor: anchor, yanchor: "bottom", font: { size: 11, color: colour } },
});

// Experts in each layer, stacked by site, with a hatch beside the colour.
function layerChart(model, counts, title, alt) {
  const { layers, sites } = model.layers;
  const shapes = ["", "/", "x", "-", "\\", "|", "+", "."];
  return chart({
    title, alt,
    spec: (colours) => ({
      data: sites.map((site, s) => ({
        type: "bar", name: plain(site), x: layers.map(String), y: counts.map((row) => row[s]),
        marker: { color: colours.series[s % 8], pattern: { shape: shapes[s % 8], solidity: 0.2, fillmode: "overlay" }, line: { width: 0.5, color: colours.card } },
      })),
      layout: {
        barmode: "stack", xaxis: { title: { text: "layer" }, type: "category" },
        yaxis: { title: { text: `experts at γ = ${model.gamma}` }, rangemode: "tozero" },
      },
    }),
    table: () => ({
      name: "layers", caption: `${title}, by layer and site.`, sort: "layer.asc", rows: range(layers.length),
      columns: [
        { key: "layer", label: "layer", value: (l) => layers[l] },
        ...sites.map((site, s) => ({ key: `site${s}`, label: site, number: true, value: (l) => counts[l][s], cell: (l) => whole(counts[l][s]) })),
        { key: "all", label: "all sites", number: true, value: (l) => sum(counts[l]), cell: (l) => whole(sum(counts[l])) },
      ],
    }),
  });
}
