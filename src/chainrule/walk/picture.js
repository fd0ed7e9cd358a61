"use strict";
// Frames that fold.  Layers and orders are those of layout.py; here everything gets its place again, as it does there.
// `changed` is called when a frame was folded.  What is returned: `frames`; `turn(frames, fold)`, which folds or unfolds;
// `shown(element)`, what stands for a box: itself, or a closed frame; `around(element)`, the frames around it, the outer
// ones first; and `place(element)`.
function foldable(svg, changed = () => {}) {
  const data = JSON.parse(svg.querySelector(".cr-places").textContent);
  const BETWEEN = 34, GAP = 22, MARGIN = 16, PADDING = 12, TITLE = 20;
  const {size, depth, layers, up} = data, passes = new Set(data.passes);
  const all = size.map((_, i) => i), zeros = () => all.map(() => 0);
  const x = zeros(), y = zeros(), w = size.map(s => s[0]), h = size.map(s => s[1]);
  const above = zeros(), below = zeros(), left = zeros(), top = zeros();
  const down = all.map(() => []), holder = all.map(() => -1), shut = all.map(() => false);
  up.forEach((each, i) => each.forEach(([other, at, own]) => down[other].push([i, own, at])));
  layers.forEach((each, i) => each.flat().forEach(box => { holder[box] = i; }));

  const elements = new Map();
  const boxes = [...svg.querySelectorAll(".cr-op,.cr-leaf,.cr-constant,.cr-result,.cr-fold:not([data-frame])")];
  const frames = [...svg.querySelectorAll("[data-frame]")], edges = [...svg.querySelectorAll(".cr-edge")];
  data.boxes.forEach((box, i) => elements.set(box, boxes[i]));
  data.frames.forEach((box, i) => { elements.set(box, frames[i]); shut[box] = frames[i].classList.contains("cr-fold"); });
  const numberOf = new Map([...elements].map(([i, element]) => [element, i]));
  const drawnAt = new Map(boxes.map(box => { // where the document has it
    const rect = box.querySelector("rect");
    return [box, [+rect.getAttribute("x") + rect.getAttribute("width") / 2, +rect.getAttribute("y")]];
  }));

  // -- places
  const offset = (point, box) => point === box || shut[box] ? 0 : x[point] - w[box] / 2;
  const wish = (box, [other, at, own]) => x[other] + offset(at, other) - offset(own, box);
  function settle(layer, neighbours) {
    const pools = [];
    let shift = 0;
    layer.forEach((box, i) => {
      if (i) shift += (w[layer[i - 1]] + w[box]) / 2 + GAP;
      let sum = 0, weight = 0;
      for (const each of neighbours(box)) {
        const pull = (1 + Math.min(depth[each[0]], depth[box])) ** 2;
        sum += wish(box, each) * pull;
        weight += pull;
      }
      pools.push([(weight ? sum / weight : x[box]) - shift, (1 + depth[box]) ** 2, [[box, shift]]]);
      while (pools.length > 1 && pools.at(-2)[0] > pools.at(-1)[0]) {
        const [at, heavy, members] = pools.pop(), before = pools.at(-1);
        before[0] = (before[0] * before[1] + at * heavy) / (before[1] + heavy);
        before[1] += heavy;
        before[2].push(...members);
      }
    });
    for (const [at, , members] of pools) for (const [box, shift] of members) x[box] = at + shift;
  }
  function place(frame, side, head) {
    const rows = layers[frame], inner = rows.flat();
    for (const box of inner) {
      x[box] = 0;
      if (passes.has(box)) h[box] = 0;
      if (!layers[box].length) continue;
      if (shut[box]) [w[box], h[box]] = size[box]; else place(box, PADDING, TITLE);
    }
    for (let i = 0; i < 6; i++) {
      for (const row of [...rows].reverse()) settle(row, box => down[box]);
      for (const row of rows) settle(row, box => [...up[box], ...down[box]]);
    }
    const first = inner.reduce((least, box) => Math.min(least, x[box] - w[box] / 2), Infinity);
    for (const box of inner) x[box] += side - first;
    w[frame] = inner.reduce((most, box) => Math.max(most, x[box] + w[box] / 2), 0) + side;
    let at = head;
    rows.forEach((row, number) => {
      let far = 0, height = 0;
      for (const box of row) {
        for (const each of up[box]) far = Math.max(far, Math.abs(x[box] - wish(box, each)));
        height = Math.max(height, h[box]);
      }
      if (number) at += BETWEEN + Math.min(80, 0.05 * far);
      for (const box of row) {
        if (passes.has(box)) h[box] = height;
        above[box] = (height - h[box]) * (up[box].length && down[box].length ? 0.5 : up[box].length ? 0 : 1);
        below[box] = height - h[box] - above[box];
        y[box] = at + above[box];
      }
      at += height;
    });
    h[frame] = at + side;
  }

  // -- what is drawn
  function shown(i) { // the outermost closed frame around it, or itself
    let found = i;
    for (let at = holder[i]; at >= 0; at = holder[at]) if (shut[at]) found = at;
    return found;
  }
  function show(element, on) { element.classList.toggle("cr-hidden", !on); }
  const fixed = number => number.toFixed(1);
  function arrange() {
    place(0, MARGIN, MARGIN);
    const order = [0];
    for (const frame of order) for (const box of layers[frame].flat()) {
      left[box] = x[box] + (frame ? left[frame] - w[frame] / 2 : 0);
      top[box] = y[box] + (frame ? top[frame] : 0);
      if (layers[box].length && !shut[box]) order.push(box);
    }
  }
  function draw() {
    arrange();
    for (const [i, element] of elements) {
      const visible = shown(i) === i;
      show(element, visible);
      if (!drawnAt.has(element)) frame(element, i);
      if (!visible) continue;
      const [atX, atY] = drawnAt.get(element) || [0, 0];
      element.setAttribute("transform", `translate(${fixed(left[i] - atX)} ${fixed(top[i] - atY)})`);
    }
    lines();
    const width = Math.round(w[0]), height = Math.round(h[0]);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  }
  function frame(element, i) {
    const rect = element.querySelector("rect"), title = element.querySelector(".cr-title");
    element.classList.toggle("cr-fold", shut[i]);
    element.classList.toggle("cr-frame", !shut[i]);
    element.setAttribute("aria-expanded", !shut[i]);
    for (const [key, value] of [["x", -w[i] / 2], ["width", w[i]], ["height", h[i]]]) rect.setAttribute(key, fixed(value));
    title.setAttribute("x", fixed(9 - w[i] / 2));
  }
  function lines() {
    const arriving = new Map(), seen = new Map();
    data.edges.forEach(([source, target, via, far], i) => {
      const ends = [shown(source), shown(target)], key = ends.join();
      edges[i].standIn = seen.get(key) || edges[i];
      const drawn = ends[0] !== ends[1] && !seen.has(key);
      show(edges[i], drawn);
      if (!drawn) return;
      if (shut[ends[0]] || shut[ends[1]]) seen.set(key, edges[i]);
      if (!arriving.has(ends[1])) arriving.set(ends[1], []);
      arriving.get(ends[1]).push([ends[0], via.filter(box => shown(box) === box), edges[i], far]);
    });
    for (const [target, several] of arriving) {
      const step = Math.min(18, (w[target] - 16) / several.length);
      several.sort((a, b) => left[a[1].at(-1) ?? a[0]] - left[b[1].at(-1) ?? b[0]]);
      several.forEach(([source, via, element, far], place) => {
        element.setAttribute("d", curve(source, via, target, step * (place - (several.length - 1) / 2)));
        element.classList.toggle("cr-far", Boolean(far));
      });
    }
  }
  function curve(source, via, target, end) {
    const bottom = top[source] + h[source];
    let points = [[left[source], bottom], [left[source], bottom + below[source]]];
    for (const box of via) points.push([left[box], top[box] - above[box]], [left[box], top[box] + h[box] + below[box]]);
    points.push([left[target] + end, top[target] - above[target]], [left[target] + end, top[target]]);
    points = points.filter(([a, b], i) => !i || a !== points[i - 1][0] || b !== points[i - 1][1]);
    const path = points.slice(1).map(([a, b], i) => {
      const [from, middle] = [points[i][0], (points[i][1] + b) / 2];
      return [from, middle, a, middle, a, b].map(fixed).join(" ");
    });
    return `M${points[0].map(fixed).join(" ")}C${path.join(" ")}`;
  }

  // -- what the reader does
  function turn(several, fold) {
    for (const element of several) shut[numberOf.get(element)] = fold;
    draw();
    changed(several, fold);
  }
  const toggle = element => turn([element], !shut[numberOf.get(element)]);
  function around(element) {
    const found = [];
    for (let at = holder[numberOf.get(element)]; at > 0; at = holder[at]) found.unshift(elements.get(at));
    return found;
  }
  for (const element of frames) {
    const title = element.querySelector(".cr-title"), lines = [...element.querySelectorAll(".cr-name,.cr-line")];
    const name = title.textContent;
    element.setAttribute("role", "button");
    element.setAttribute("tabindex", 0);
    element.setAttribute("aria-expanded", element.classList.contains("cr-frame"));
    element.setAttribute("aria-label", [name, ...lines.slice(1).map(line => line.textContent)].join(", "));
    element.classList.add("cr-turns");
    title.textContent = `▾ ${name}`;
    lines[0].textContent = `▸ ${lines[0].textContent}`;
    element.addEventListener("click", event => {
      if (element.classList.contains("cr-fold") || event.target === title) toggle(element);
    });
    element.addEventListener("keydown", event => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      toggle(element);
    });
  }
  svg.setAttribute("role", "group");
  arrange();
  return {
    frames,
    turn,
    around,
    shown: element => elements.get(shown(numberOf.get(element))),
    place(element) { // of its middle
      const i = numberOf.get(element);
      return {x: left[i], y: top[i] + h[i] / 2, w: w[i], h: h[i]};
    },
  };
}
