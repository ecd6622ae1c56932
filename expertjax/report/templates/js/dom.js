// Elements are made here and nowhere else: text is always text, never markup.

function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    } else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const link = (href, ...children) => h("a", { href }, ...children);
const code = (text) => h("code", {}, text);
const note = (...children) => h("p", { class: "note" }, ...children);

function section(id, title, ...children) {
  return h("section", { "aria-labelledby": id }, h("h2", { id }, title), ...children);
}

function facts(pairs) {
  const shown = pairs.filter((pair) => pair);
  return h("dl", { class: "facts" }, shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

// A choice with a visible label; `options` are [value, text].
function choice(label, options, value, onChange) {
  const select = h("select", { on: { change: (event) => onChange(event.target.value) } },
    options.map(([key, text]) => h("option", { value: key }, text)));
  select.value = value;
  return h("label", { class: "choice" }, h("span", {}, label), select);
}
