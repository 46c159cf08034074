// The page itself: order and filters of the table, what the plot shows, learning curves at a click,
// and, where a server asked for it, newer results.

const AT_ONCE = 300;  // rows that are shown until one asks for more
const EVERY = 5000;   // milliseconds from one question for newer results to the next
const byId = id => document.getElementById(id);
const state = {sort: "test_accuracy", down: true, filters: new Map(), search: "", open: new Set(),
               limit: AT_ONCE};
let data, place, texts, kept;  // place: of a column by its name; texts: of a row, for the search

function load() {
  data = JSON.parse(byId("data").textContent);
  place = new Map(data.columns.map((column, i) => [column.name, i]));
  texts = data.rows.map((_, i) => data.columns.map((c, k) => shown(i, k)).join(" ").toLowerCase());
}

function shown(row, k) {
  const value = data.rows[row][k], {digits, name} = data.columns[k];
  if (value === null) return "";
  if (digits === null || typeof value !== "number") return String(value);
  const deviation = name === "test_accuracy" ? data.deviations[row] : null;
  return value.toFixed(digits) + (deviation === null ? "" : ` ± ${deviation.toFixed(digits)}`);
}

// Which rows

// The condition that a text means, (value, what is shown of it) -> boolean; null: it makes no sense.
function condition(text) {
  const [, sign, word] = /^\s*(<=|>=|!=|[<>=!])?\s*(.*?)\s*$/.exec(text.toLowerCase());
  const number = Number(word);
  if (!word) return () => true;
  const equals = (value, said) => typeof value === "number" && !Number.isNaN(number)
    ? value === number || Number.parseFloat(said) === number : said === word;
  switch (sign) {
    case "=": return equals;
    case "!=": return (value, said) => !equals(value, said);
    case "!": return (_, said) => !said.includes(word);
    case undefined: return (_, said) => said.includes(word);
  }
  if (Number.isNaN(number)) return null;
  const holds = {"<": v => v < number, ">": v => v > number, "<=": v => v <= number,
                 ">=": v => v >= number}[sign];
  return value => typeof value === "number" && holds(value);
}

function matching() {
  const conditions = [];
  for (const [name, text] of state.filters) {
    if (!place.has(name)) continue;  // a column that newer results do not have
    const holds = condition(text), box = byId("cells").querySelector(`[data-filter="${CSS.escape(name)}"]`);
    box.setAttribute("aria-invalid", String(!holds));
    if (holds) conditions.push([place.get(name), holds]);
  }
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  const k = place.get(state.sort) ?? place.get("test_accuracy"), direction = state.down ? -1 : 1;
  return data.rows.map((_, i) => i).filter(i =>
    words.every(word => texts[i].includes(word)) &&
    conditions.every(([c, holds]) => holds(data.rows[i][c], shown(i, c).toLowerCase()))
  ).sort((a, b) => {
    const [left, right] = [data.rows[a][k], data.rows[b][k]];
    if (left === null || right === null) return (left === null) - (right === null) || a - b;
    return direction * inOrder(left, right) || a - b;
  });
}

// The table

function heads() {
  const names = element("tr", {}, element("th")), boxes = element("tr", {}, element("th"));
  data.columns.forEach(column => {
    const button = element("button", {type: "button", title: column.about}, column.title);
    button.addEventListener("click", () => {
      state.down = state.sort === column.name ? !state.down : column.digits !== null;
      state.sort = column.name;
      show();
    });
    names.append(element("th", {scope: "col", "data-name": column.name}, button));
    const box = element("input", {type: "search", "data-filter": column.name, placeholder: "filter",
                                  "aria-label": `filter ${column.title}`});
    box.value = state.filters.get(column.name) || "";
    box.addEventListener("input", () => {
      state.filters.set(column.name, box.value);
      soon();
    });
    boxes.append(element("th", {}, box));
  });
  byId("cells").tHead.replaceChildren(names, boxes);
}

function order() {
  for (const head of byId("cells").querySelectorAll("th[data-name]")) {
    const button = head.firstChild, column = data.columns[place.get(head.dataset.name)];
    const sorted = column.name === state.sort;
    head.setAttribute("aria-sort", sorted ? (state.down ? "descending" : "ascending") : "none");
    button.textContent = column.title + (sorted ? (state.down ? " ▼" : " ▲") : "");
  }
}

function line(i) {
  const isOpen = state.open.has(data.keys[i]);
  const button = element("button", {type: "button", "aria-expanded": String(isOpen),
                                    "aria-label": "learning curve"}, isOpen ? "▾" : "▸");
  const row = element("tr", {class: isOpen ? "cell open" : "cell", "data-row": i},
                      element("td", {}, button));
  data.columns.forEach((column, k) => {
    const said = shown(i, k), number = typeof data.rows[i][k] === "number";
    row.append(element("td", number ? {class: "number"} : {class: "text", title: said}, said));
  });
  row.addEventListener("click", () => toggle(row, i));
  return isOpen ? [row, detail(i)] : [row];
}

function toggle(row, i) {
  const key = data.keys[i], button = row.querySelector("button");
  const isOpen = !state.open.delete(key);
  if (isOpen) {
    state.open.add(key);
    row.after(detail(i));
  } else {
    row.nextSibling.remove();
  }
  row.classList.toggle("open", isOpen);
  button.setAttribute("aria-expanded", String(isOpen));
  button.textContent = isOpen ? "▾" : "▸";
}

function tested() {  // what accuracies are on, in a word: "Test", or "Held-out"
  const word = data.columns[place.get("test_accuracy")].title.split(" ")[0];
  return word[0].toUpperCase() + word.slice(1);
}

function detail(i) {
  const curve = data.curves[data.keys[i]], room = byId("scroller").clientWidth;
  const box = element("div", {class: "curve"});
  box.style.width = `${room}px`;
  if (curve) {
    const networks = curve.seeds === 1 ? "one network" : `${curve.seeds} networks: mean, band ±1 standard deviation`;
    box.append(learningCurve(Math.min(room - 20, 620), curve), element(
      "p", {class: "quiet"}, `${tested()} (solid, blue), train (dashed, orange); ${networks}` +
      (curve.finished ? "." : ", not finished yet.")));
  } else {
    box.append(element("p", {class: "quiet"}, "No accuracies per epoch are known of it: a store " +
      "has them, a file NAME.csv needs NAME-epochs.csv beside it."));
  }
  return element("tr", {class: "detail"},
                 element("td", {colspan: data.columns.length + 1}, box));
}

function rows() {
  const visible = kept.slice(0, state.limit);
  byId("cells").tBodies[0].replaceChildren(...visible.flatMap(line));
  const all = data.rows.length, rest = kept.length - visible.length;
  byId("count").textContent = `${visible.length} row${visible.length === 1 ? "" : "s"} shown` +
    (rest ? ` of ${kept.length} that match` : "") + (kept.length < all ? `, ${all} in all` : "");
  byId("more").hidden = !rest;
  byId("more").textContent = `show ${Math.min(rest, 2 * state.limit)} more rows`;
}

// The plot

function options(select, columns, first) {
  const chosen = place.has(select.value) || select.value === "" && select.length ? select.value : first;
  select.replaceChildren(...columns.map(([name, title]) => element("option", {value: name}, title)));
  select.value = chosen;
}

function choices() {
  const settings = data.columns.filter(c => c.digits === null);
  const measured = data.columns.filter(c => c.digits > 0 && c.name !== "test_accuracy");
  // What a study varies rather than tunes, with many numbers along x and few values in colour.
  const drawable = data.rows.filter(r => r[place.get("test_accuracy")] !== null);
  const values = c => drawable.map(r => r[place.get(c.name)]).filter(v => v !== null);
  const count = c => new Set(values(c)).size;
  const isNumber = v => typeof v === "number";
  const widths = settings.find(c => c.name === "n_bits" && values(c).some(isNumber));
  const free = settings.filter(c => !c.implied);
  const numbers = free.filter(c => values(c).every(isNumber))
    .sort((a, b) => a.tuned - b.tuned || count(b) - count(a));
  const x = (widths || numbers[0] || free[0] || measured[0])?.name;
  const colour = free.find(
    c => c.name !== x && !c.tuned && count(c) > 1 && count(c) <= 12)?.name || "";
  const named = columns => columns.map(c => [c.name, c.title]);
  options(byId("x"), named([...settings, ...measured]), x);
  options(byId("colour"), [["", "nothing"], ...named(settings)], colour);
}

function plot() {
  const x = place.get(byId("x").value), colour = place.get(byId("colour").value);
  const y = place.get("test_accuracy"), column = data.columns[x];
  const of = row => colour === undefined ? "" : row[colour] ?? "none";
  const points = x === undefined ? [] : kept.filter(i => data.rows[i][y] !== null && data.rows[i][x] !== null)
    .map(i => ({i, x: data.rows[i][x], y: data.rows[i][y], deviation: data.deviations[i],
                of: of(data.rows[i]),
                said: data.columns.map((c, k) => `${c.title} ${shown(i, k)}`).join("\n")}));
  byId("legend").replaceChildren();
  if (!points.length) {
    byId("plot").replaceChildren(element("p", {class: "quiet"}, "Nothing to draw: no row with an accuracy."));
    byId("caption").textContent = "";
    return;
  }
  // Of all rows: a filter does not change the colour of what it leaves.
  const looks = looksOf(data.rows.map(of)), left = new Set(points.map(p => p.of));
  for (const value of looks.keys()) if (!left.has(value)) looks.delete(value);
  const title = column.unit ? `${column.title} (${column.unit})` : column.title;
  byId("plot").replaceChildren(scatter(byId("plot").clientWidth, points, looks, title, data.columns[y].title, p => find(p.i)));
  if (colour !== undefined) {
    byId("legend").append(element("li", {class: "quiet"}, data.columns[colour].title), ...legend([...looks]));
  }
  byId("caption").textContent = `${points.length} configurations, mean ± one standard deviation over ` +
    `seeds, where there are several. ${column.title}: ${column.about}. A click on a point opens its row.`;
}

function legend(looks) {  // of very many only some
  const step = looks.length > 24 ? (looks.length - 1) / 11 : 1, some = [];
  for (let i = 0; Math.round(i) < looks.length; i += step) some.push(looks[Math.round(i)]);
  const entries = some.map(([value, look]) => element(
    "li", {}, drawn("svg", {width: 14, height: 14}, marker(look, 7, 7)), plain(value)));
  return step > 1 ? [...entries, element("li", {class: "quiet"}, `${some.length} of ${looks.length} values`)] : entries;
}

function find(i) {  // of a point
  state.open.add(data.keys[i]);
  state.limit = Math.max(state.limit, kept.indexOf(i) + 1);
  rows();
  const row = byId("cells").querySelector(`tr[data-row="${i}"]`);
  row.scrollIntoView({block: "center"});
  row.querySelector("button").focus({preventScroll: true});
}

// All together

function show() {
  kept = matching();
  order();
  rows();
  plot();
}

let waiting;
function soon() {  // not at every letter
  clearTimeout(waiting);
  waiting = setTimeout(() => { state.limit = AT_ONCE; show(); }, 120);
}

byId("x").addEventListener("change", plot);
byId("colour").addEventListener("change", plot);
byId("search").addEventListener("input", () => { state.search = byId("search").value; soon(); });
byId("more").addEventListener("click", () => { state.limit *= 3; rows(); });
byId("clear").addEventListener("click", () => {
  state.search = byId("search").value = "";
  state.filters.clear();
  heads();
  soon();
});
let width = window.innerWidth;
window.addEventListener("resize", () => {  // not at the height, which phones change while scrolling
  if (width !== window.innerWidth) soon();
  width = window.innerWidth;
});

async function ask() {
  const said = {text: `live, asked at ${new Date().toLocaleTimeString()}`};
  try {
    const stamp = await (await fetch("stamp", {cache: "no-store"})).text();
    if (stamp !== data.stamp) await renew();
  } catch {
    said.text = "the server does not answer: these results may be old";
  }
  byId("live").hidden = false;
  byId("live").textContent = said.text;
  setTimeout(ask, EVERY);
}

async function renew() {  // in place: what is typed, sorted, opened and scrolled to stays
  const page = new DOMParser().parseFromString(await (await fetch("", {cache: "no-store"})).text(), "text/html");
  page.getElementById("plan").open = byId("plan").open;
  const columns = JSON.stringify(data.columns);
  for (const id of ["head", "constant", "data"]) byId(id).replaceWith(document.adoptNode(page.getElementById(id)));
  document.title = page.title;
  load();
  if (JSON.stringify(data.columns) !== columns) heads();
  choices();
  show();
}

load();
heads();
choices();
show();
if (data.stamp) setTimeout(ask, EVERY);
