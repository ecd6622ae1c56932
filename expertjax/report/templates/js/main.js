// The pages and how one gets from one to another.

const app = { model: null, models: [], comparison: null, route: null, cleanups: [], redraws: [], onSearch: null };

const PAGES = {
  overview: (model) => overviewPage(model),
  concept: (model, id) => conceptPage(model, id),
  unit: (model, id) => unitPage(model, id),
  sentence: (model, id) => sentencePage(model, id),
  map: (model) => mapPage(model),
  search: (model) => searchPage(model),
  about: (model) => aboutPage(model),
  models: (model) => comparePage(model),
};

// `title` is text or an element; null for the report's own.
function page(title, content, { kicker = null, title: text = null } = {}) {
  const name = text ?? (typeof title === "string" ? title : null);
  document.title = [name, `Expert units of ${app.model.name}`].filter(Boolean).join(" – ");
  const heading = h("h1", { tabindex: "-1" }, title ?? ["Expert units of ", h("span", { class: "model" }, app.model.name)]);
  const scope = title === null ? h("p", { class: "scope" }, `${plural(app.model.numConcepts, "concept")}, ${plural(app.model.map.num_units, "unit")}, expert threshold γ = ${app.model.gamma}`) : null;
  return [kicker ? h("p", { class: "kicker" }, kicker) : null, heading, scope, ...content].filter(Boolean);
}

const missing = (what, why) => page("Not in this report", [h("p", { class: "lead" }, `${what}: `, why), h("p", {}, link(href("overview"), "All concepts"))]);

function aboutPage(model) {
  const content = document.getElementById("about").content.cloneNode(true);
  return page("About this report", [
    section("run", "How this was run", facts([["model", model.name], ...Object.entries(model.facts), ["expert threshold γ", String(model.gamma)]])), content]);
}

async function show({ focus }) {
  const route = parseRoute(location.hash);
  if (!PAGES[route.page]) route.page = app.comparison ? "models" : "overview";
  if (route.page === "models" && !app.comparison) route.page = "overview";
  const wanted = app.models.indexOf(route.params.get("model"));
  app.model = await loadModel(Math.max(0, wanted));
  app.cleanups.forEach((cleanup) => cleanup());
  Object.assign(app, { route, cleanups: [], redraws: [], onSearch: null });
  const box = document.getElementById("search");
  if (route.page === "search" && document.activeElement !== box) box.value = route.params.get("q") || "";
  document.getElementById("main").replaceChildren(...PAGES[route.page](app.model, route.id));
  drawNavigation(route);
  if (focus && document.activeElement !== box) {
    scrollTo(0, 0);
    document.querySelector("main h1").focus({ preventScroll: true });
  }
}

function drawNavigation(route) {
  const pages = [app.comparison && ["models", "Models"], ["overview", "Concepts"], ["map", "Co-learning"], ["about", "About"]];
  document.getElementById("pages").replaceChildren(...pages.filter(Boolean).map(([name, text]) =>
    h("li", {}, h("a", { href: href(name), "aria-current": route.page === name ? "page" : null }, text))));
  const holder = document.getElementById("model-choice");
  holder.hidden = app.models.length < 2 || route.page === "models";
  holder.replaceChildren(choice("Model", app.models.map((name) => [name, name]), app.model.name, (name) => {
    const { page: name_, id } = app.route;
    location.hash = modelHref(name, name_, id || null);
  }));
}

function startSearch() {
  const box = document.getElementById("search");
  const go = () => {
    if (app.route && app.route.page === "search") { keep("q", box.value); app.onSearch(box.value); }
    else if (box.value.trim()) location.hash = href("search", null, { q: box.value });
  };
  box.addEventListener("input", go);
  box.form.addEventListener("submit", (event) => { event.preventDefault(); go(); });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) { event.preventDefault(); box.focus(); box.select(); }
  });
}

function startTheme() {
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.setAttribute("aria-pressed", String(theme === "dark"));
    app.redraws.forEach((redraw) => redraw());
  };
  let chosen = null;
  try { chosen = localStorage.getItem("expertjax-theme"); } catch { /* files may have no storage */ }
  apply(chosen === "dark" || chosen === "light" ? chosen : dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => { if (!chosen) apply(dark.matches ? "dark" : "light"); });
  button.hidden = false;
  button.addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("expertjax-theme", chosen); } catch { /* as above */ }
    apply(chosen);
  });
}

async function start() {
  startTheme();
  const say = (text) => document.getElementById("main").append(h("p", { class: "warning" }, text));
  if (!window.DecompressionStream) { say("This browser is too old to open the report: it needs DecompressionStream (Chrome 80, Firefox 113, Safari 16.4). The figures beside this page, PNG and SVG, need no browser."); return; }
  try {
    const index = JSON.parse(await inflate("index"));
    Object.assign(app, index);
    await show({ focus: false });
  } catch (error) { say(`The report cannot be shown: ${error.message}`); throw error; }
  startSearch();
  addEventListener("hashchange", () => show({ focus: true }));
  document.documentElement.dataset.ready = "yes";
}

start();
