"use strict";
// Pictures in SVG: axes, points with error bars, curves with bands. Texts enter as text nodes and
// attributes, never as HTML: no value needs to be escaped.

function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const PALETTE = [0, 1, 2, 3, 4, 5, 6].map(i => `var(--c${i})`);  // see page.css
const SHAPES = ["circle", "square", "diamond", "triangle"];
// For numbers, from low to high: lighter and warmer at once, for any colour vision.
const STOPS = [[44, 111, 187], [132, 94, 176], [200, 86, 118], [221, 125, 38]];

function between(share) {
  const place = share * (STOPS.length - 1), low = Math.min(Math.floor(place), STOPS.length - 2);
  const mixed = STOPS[low].map((v, i) => Math.round(v + (place - low) * (STOPS[low + 1][i] - v)));
  return `rgb(${mixed.join(",")})`;
}

function inOrder(a, b) {  // numbers first, then words
  const words = (typeof a === "string") - (typeof b === "string");
  return words || (typeof a === "number" ? a - b : a.localeCompare(b, "en", {numeric: true}));
}

function distinct(values) {
  return [...new Set(values)].sort(inOrder);
}

// Looks of the values of a column: {colour, shape} by value. Three numbers and more share a ramp.
function looksOf(values) {
  const known = distinct(values);
  const ramp = known.length > 2 && known.every(v => typeof v === "number");
  return new Map(known.map((value, i) => [value, ramp
    ? {colour: between(i / (known.length - 1)), shape: SHAPES[0]}
    : {colour: PALETTE[i % PALETTE.length], shape: SHAPES[i % SHAPES.length]}]));
}

function marker(look, x, y, size = 4.5) {
  const attributes = {class: "point", fill: look.colour};
  const path = {
    square: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
    diamond: [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]],
    triangle: [[0, -1.2], [1.15, 0.9], [-1.15, 0.9]],
  }[look.shape];
  if (!path) return drawn("circle", {...attributes, cx: x.toFixed(1), cy: y.toFixed(1), r: size});
  const points = path.map(([a, b]) => `${(x + a * size).toFixed(1)},${(y + b * size).toFixed(1)}`);
  return drawn("polygon", {...attributes, points: points.join(" ")});
}

// Scales: {at: value -> 0 to 1, ticks: values, label: value -> text, slot: share that a value has}

function plain(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(4))) : value;
}

function rounded(low, high, count) {  // round numbers from low to high
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(f => f * power >= rough);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) ticks.push(i * step);
  return ticks;
}

function linear(values, count = 6) {
  let low = Math.min(...values), high = Math.max(...values);
  const pad = (high - low) * 0.05 || Math.abs(high) * 0.05 || 0.5;
  low -= pad;
  high += pad;
  return {at: v => (v - low) / (high - low), ticks: rounded(low, high, count), label: plain};
}

function logarithmic(values) {  // zero, which has no logarithm, stands left of all others
  const positive = values.filter(v => v > 0);
  let low = Math.log10(Math.min(...positive)), high = Math.log10(Math.max(...positive));
  const zero = low - 0.2 * (high - low), pad = 0.05 * (high - low);
  const place = v => v > 0 ? Math.log10(v) : zero;
  const ticks = positive.length < values.length ? [0] : [];
  for (let p = Math.floor(low); p <= high; p++) {
    for (const f of high - low < 2 ? [1, 2, 5] : [1]) {
      const tick = Number(`${f}e${p}`);
      if (place(tick) >= low - pad && place(tick) <= high + pad) ticks.push(tick);
    }
  }
  low = (ticks[0] === 0 ? zero : low) - pad;
  high += pad;
  return {at: v => (place(v) - low) / (high - low), ticks, label: plain, isLog: true};
}

function slots(known) {
  return {at: v => (known.indexOf(v) + 0.5) / known.length, ticks: known, label: plain};
}

// What the values ask for: words have slots; numbers over more than a decade a logarithm.
function scaleOf(values) {
  const known = distinct(values);
  let scale;
  if (known.length < 2 || !known.every(v => typeof v === "number")) {
    scale = slots(known);
  } else {
    const positive = known.filter(v => v > 0);
    const wide = known[0] >= 0 && positive.length > 2 && known.at(-1) / positive[0] >= 20;
    scale = {...(wide ? logarithmic(known) : linear(known)), isNumeric: true};
    if (known.length <= 10) scale.ticks = known;
  }
  const places = known.map(scale.at).sort((a, b) => a - b);
  const gaps = places.slice(1).map((p, i) => p - places[i]);
  const slot = known.length > 20 ? 0 : Math.min(1 / known.length, ...gaps);
  // Half a slot at either end, for what stands side by side there; words have it already.
  const inset = known.length > 1 && scale.isNumeric ? 0.4 * slot : 0;
  return {...scale, slot: slot * (1 - 2 * inset), at: v => inset + (1 - 2 * inset) * scale.at(v)};
}

const LEFT = 52, TOP = 10, RIGHT = 14, CHARACTER = 6.6;

// An empty picture with axes: {svg, x: value -> pixel, y: value -> pixel, wide: pixels of the x axis}
function axes(width, height, xScale, yScale, xTitle, yTitle) {
  const wide = width - LEFT - RIGHT, labels = xScale.ticks.map(xScale.label);
  const x = v => LEFT + xScale.at(v) * wide;
  const short = labels.map(l => l.length > 22 ? l.slice(0, 21) + "…" : l);
  const needed = short.reduce((sum, l) => sum + l.length * CHARACTER + 10, 0);
  const slanted = needed > wide && labels.some(l => Number.isNaN(Number(l)));
  const longest = Math.max(1, ...short.map(l => l.length));
  const bottom = 40 + (slanted ? Math.min(longest * CHARACTER * 0.75, 115) : 8);
  const tall = height - TOP - bottom, y = v => TOP + (1 - yScale.at(v)) * tall;
  const svg = drawn("svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
                            "aria-label": `${yTitle} against ${xTitle}`});
  const line = (x1, y1, x2, y2) => svg.append(drawn("line", {class: "grid", x1, y1, x2, y2}));
  const text = (said, attributes) => svg.append(drawn("text", attributes, said));
  for (const tick of yScale.ticks) {
    line(LEFT, y(tick), LEFT + wide, y(tick));
    text(yScale.label(tick), {x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end"});
  }
  let free = -Infinity;
  xScale.ticks.forEach((tick, i) => {
    const half = slanted ? 7 : short[i].length * CHARACTER / 2 + 3, place = x(tick);
    if (place - half < free) return;  // no room for this label
    free = place + half;
    line(place, TOP + tall, place, TOP + tall + 5);
    const below = TOP + tall + 18;
    text(short[i], slanted
      ? {x: place + 4, y: below - 2, "text-anchor": "end",
         transform: `rotate(-40 ${place + 4} ${below - 2})`}
      : {x: place, y: below, "text-anchor": "middle"});
  });
  line(LEFT, TOP, LEFT, TOP + tall);
  line(LEFT, TOP + tall, LEFT + wide, TOP + tall);
  text(xTitle, {x: LEFT + wide / 2, y: height - 8, "text-anchor": "middle"});
  const middle = TOP + tall / 2;
  text(yTitle, {x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})`});
  return {svg, x, y, wide};
}

// Points {x, y, deviation, of (value that gives the colour), said}; `pick` is told which is clicked.
function scatter(width, points, looks, xTitle, yTitle, pick) {
  const height = Math.round(Math.min(460, Math.max(300, width * 0.5)));
  const low = p => Math.max(0, p.y - p.deviation), high = p => Math.min(100, p.y + p.deviation);
  const spread = points.flatMap(p => [low(p), high(p)]);
  const xScale = scaleOf(points.map(p => p.x));
  const {svg, x, y, wide} = axes(width, height, xScale, linear(spread),
                                 xTitle + (xScale.isLog ? ", logarithmic" : ""), yTitle);
  // What has the same x stands side by side, by colour.
  const names = [...looks.keys()], room = Math.min(0.75 * xScale.slot * wide, 22 * names.length);
  const shift = p => names.length < 2 ? 0 : ((names.indexOf(p.of) + 0.5) / names.length - 0.5) * room;
  const bars = new Map(names.map(name => [name, ""])), above = [];
  for (const p of points) {
    const place = x(p.x) + shift(p);
    if (p.deviation) {
      const end = y(low(p)), tall = end - y(high(p));
      bars.set(p.of, bars.get(p.of) + `M${place.toFixed(1)} ${end.toFixed(1)}v${(-tall).toFixed(1)}` +
        `m-3 0h6m-6 ${tall.toFixed(1)}h6`);
    }
    const node = marker(looks.get(p.of), place, y(p.y));
    node.append(drawn("title", {}, p.said));
    node.addEventListener("click", () => pick(p));
    above.push(node);
  }
  for (const [name, d] of bars) {
    if (d) svg.append(drawn("path", {class: "error", d, stroke: looks.get(name).colour}));
  }
  svg.append(...above);
  if (points.length > 300) svg.classList.add("crowded");
  return svg;
}

// The learning curve of a cell, as the page has it: see `_curve` in page.py.
function learningCurve(width, curve) {
  const parts = [["test", PALETTE[1], ""], ["train", PALETTE[0], "6 4"]];
  const epochs = curve.test.map((_, i) => curve.first + i), ends = [];
  for (const [name] of parts) {
    curve[name].forEach((mean, i) => {
      const deviation = curve[`${name}_deviation`][i] || 0;
      if (mean !== null) ends.push(mean - deviation, mean + deviation);
    });
  }
  const whole = linear(epochs);
  whole.ticks = whole.ticks.filter(tick => Number.isInteger(tick) && tick >= curve.first);
  const {svg, x, y} = axes(width, 260, epochs.length > 1 ? whole : slots(epochs), linear(ends, 5),
                           "epoch", "accuracy (%)");
  for (const [name, colour, dash] of parts) {
    const known = epochs.map((epoch, i) => [epoch, curve[name][i], curve[`${name}_deviation`][i] || 0])
      .filter(([, mean]) => mean !== null);
    if (!known.length) continue;
    const path = side => known.map(([epoch, mean, deviation]) =>
      `${x(epoch).toFixed(1)} ${y(mean + side * deviation).toFixed(1)}`);
    if (known.length === 1) svg.append(marker({colour, shape: SHAPES[0]}, x(known[0][0]), y(known[0][1])));
    svg.append(
      drawn("path", {class: "band", fill: colour, d: `M${[...path(1), ...path(-1).reverse()].join("L")}Z`}),
      drawn("path", {class: "line", stroke: colour, "stroke-dasharray": dash, d: `M${path(0).join("L")}`}));
  }
  return svg;
}
