"use strict";
// Lines over rounds as SVG. Each line has a colour of its own (Okabe and Ito's, apart for every common colour
// blindness), a dash and a mark of its own, so that none of the three is needed to tell them apart.

const COLOURS = ["#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"];
const DASHES = ["", "7 3", "2 3", "10 3 2 3", "4 2"];
const BOX = { width: 480, height: 270, left: 52, right: 10, top: 12, bottom: 44 };

function svg(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function mark(look, x, y) {
  const fill = COLOURS[look % COLOURS.length];
  const r = look === 0 ? 4 : 3.5;
  switch (look % 4) {
    case 1: return svg("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r, fill });
    case 2: return svg("path", { d: `M${x} ${y - r - 1}L${x + r + 1} ${y + r}L${x - r - 1} ${y + r}Z`, fill });
    case 3: return svg("path", { d: `M${x} ${y - r - 1}L${x + r + 1} ${y}L${x} ${y + r + 1}L${x - r - 1} ${y}Z`, fill });
    default: return svg("circle", { cx: x, cy: y, r, fill });
  }
}

function stroke(look) {
  const width = look === 0 ? 2.5 : 1.5;
  const dash = DASHES[look % DASHES.length];
  return { fill: "none", stroke: COLOURS[look % COLOURS.length], "stroke-width": width, "stroke-dasharray": dash };
}

// The next of 1, 2 and 5 times a power of ten.
function step(range, count) {
  const rough = Math.max(range / count, 1e-9), power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map(factor => factor * power).find(size => size >= rough);
}

function axes(picture, at, last, top) {
  const size = step(top, 4), decimals = Math.max(0, -Math.floor(Math.log10(size) + 1e-9));
  for (let value = 0; value <= top + size / 1e3; value += size) {
    const y = at.y(value);
    picture.append(svg("line", { x1: BOX.left, x2: BOX.width - BOX.right, y1: y, y2: y, stroke: "#e4e4e4" }));
    picture.append(svg("text", { x: BOX.left - 6, y: y + 4, "text-anchor": "end" }, value.toFixed(decimals)));
  }
  for (let round = 1, every = Math.max(1, step(last, 8)); round <= last; round += 1) {
    if (every > 1 && round % every !== 0 && round !== 1) continue;
    picture.append(svg("text", { x: at.x(round), y: BOX.height - 25, "text-anchor": "middle" }, round));
  }
  picture.append(svg("text", { x: (BOX.left + BOX.width) / 2, y: BOX.height - 5, "text-anchor": "middle" }, "round"));
}

// lines: [{ name, look, points: [[round, value], ...] }]; look 0 is the strongest. rounds: where the axis ends.
function chart(title, lines, rounds) {
  const values = lines.flatMap(line => line.points.map(point => point[1])), highest = Math.max(...values, 1e-6);
  const size = step(highest, 4), top = Math.ceil(highest / size - 1e-9) * size, last = Math.max(rounds, 2);
  const at = {
    x: round => BOX.left + 12 + (round - 1) / (last - 1) * (BOX.width - BOX.left - BOX.right - 24),
    y: value => BOX.height - BOX.bottom - value / top * (BOX.height - BOX.bottom - BOX.top),
  };
  const picture = svg("svg", { viewBox: `0 0 ${BOX.width} ${BOX.height}`, role: "img" });
  picture.append(svg("title", {}, title));
  axes(picture, at, last, top);
  [...lines].reverse().forEach(line => {
    const points = line.points.map(([round, value]) => [at.x(round), at.y(value)]);
    picture.append(svg("polyline", { points: points.map(point => point.join(",")).join(" "), ...stroke(line.look) }));
    for (const [x, y] of points) picture.append(mark(line.look, x, y));
  });
  return picture;
}

function legend(lines) {
  const list = document.createElement("ul");
  list.className = "legend";
  lines.forEach(line => {
    const sample = svg("svg", { viewBox: "0 0 36 12", "aria-hidden": "true" });
    sample.append(svg("line", { x1: 0, x2: 36, y1: 6, y2: 6, ...stroke(line.look) }), mark(line.look, 18, 6));
    const entry = document.createElement("li"), name = document.createElement("span");
    name.textContent = line.name;
    entry.append(sample, name);
    list.append(entry);
  });
  return list;
}
