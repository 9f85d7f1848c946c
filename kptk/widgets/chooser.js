// Three figures to choose people in. Python counts and decides who is meant; this draws and asks.
const LEFT = 48, RIGHT = 8, TOP = 6, BOTTOM = 34; // round the scatter, in pixels
const NEAR = 7; // pixels from a point at which a click means it
const OWNERS = { found: "found", keypoints: "keypoint model", detector: "detector" };
const SVG = "http://www.w3.org/2000/svg";

function make(tag, parent, name = "", text = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== "") element.textContent = text;
  parent.append(element);
  return element;
}

function draw(tag, parent, values, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  element.textContent = text;
  parent.append(element);
  return element;
}

function card(el, title, hint) {
  const box = make("section", el, "kptk-card");
  const head = make("h4", box, "", `${title} `);
  make("small", head, "", hint);
  return box;
}

function render({ model, el }) {
  el.classList.add("kptk", "kptk-chooser");
  el.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own keys must not act as well
  const bars = card(el, "People", "click a bar; with Shift, several");
  const list = make("div", bars);
  const joints = card(el, "Joints", "true box (rows) → found box (columns)");
  const table = make("table", joints);
  const key = make("div", joints, "kptk-key");
  key.innerHTML = '<i style="background:#D55E00"></i>worse with the found box' +
    '<i style="background:#56B4E9"></i>better<i style="background:#8C8C8C"></i>the same';
  const cloud = card(el, "OKS", "draw round people; with Shift, a box");
  const scatter = make("div", cloud, "kptk-scatter");
  const canvas = make("canvas", scatter);
  const svg = draw("svg", scatter, { role: "img" });
  const axes = draw("g", svg, {});
  const outline = draw("polygon", svg, { points: "" });
  let line = null; // what is being drawn, in pixels

  // -- bars and matrix --------------------------------------------------------------------

  function button(parent, name, id, pressed, act) {
    const made = make("button", parent, name);
    made.type = "button";
    made.dataset.id = id;
    made.setAttribute("aria-pressed", pressed);
    made.addEventListener("click", act);
    return made;
  }

  function keepingFocus(act) { // bars and cells are made anew
    const id = el.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    act();
    if (id) el.querySelector(`[data-id="${CSS.escape(id)}"]`)?.focus({ preventScroll: true });
  }

  function showBars() {
    const all = model.get("bars");
    const most = Math.max(1, ...all.map((bar) => bar.count));
    const total = Math.max(1, all.reduce((sum, bar) => sum + bar.count, 0));
    const labels = model.get("chosen").labels ?? [];
    list.replaceChildren();
    let owner = "";
    for (const bar of all) {
      if (bar.owner !== owner) make("div", list, "kptk-owner", OWNERS[bar.owner]);
      owner = bar.owner;
      const row = button(list, "kptk-bar", `bar ${bar.label}`, labels.includes(bar.label), (event) =>
        model.send({ bar: bar.label, add: event.shiftKey || event.ctrlKey || event.metaKey }));
      row.classList.toggle("none", !bar.count);
      row.title = `${bar.label}: ${bar.count} people, ${((100 * bar.count) / total).toFixed(1)} %`;
      make("span", row, "", bar.label);
      const strip = make("i", make("span", row));
      strip.style.background = bar.colour;
      strip.style.width = `${(100 * bar.count) / most}%`;
      make("span", row, "count", bar.count);
    }
  }

  function showJoints() {
    const counts = model.get("joints");
    const names = model.get("names");
    const [row, column] = model.get("chosen").cell ?? [];
    const most = Math.log1p(Math.max(1, ...counts.flat()));
    table.replaceChildren();
    const head = make("tr", make("thead", table));
    for (const name of ["", ...names]) make("th", head, "", name);
    const body = make("tbody", table);
    counts.forEach((line, i) => {
      const tr = make("tr", body);
      make("th", tr, "", names[i]);
      line.forEach((count, j) => {
        const kind = i === j ? "same" : j > i ? "worse" : "better";
        const pair = [names[i], names[j]];
        const cell = button(make("td", tr), `kptk-cell ${kind}`, `cell ${pair}`,
          row === pair[0] && column === pair[1], () => model.send({ cell: pair }));
        cell.style.setProperty("--share", `${Math.round((58 * Math.log1p(count)) / most)}%`);
        cell.classList.toggle("none", !count);
        cell.textContent = count;
        cell.title = `${count} joints: ${pair[0]} on the true box, ${pair[1]} on the found box`;
      });
    });
  }

  // -- the scatter ------------------------------------------------------------------------

  const low = () => model.get("no_box") - 0.05;
  const width = () => Math.max(60, scatter.clientWidth - LEFT - RIGHT);
  const height = () => scatter.clientHeight - TOP - BOTTOM;
  const px = (x) => LEFT + ((x + 0.02) / 1.04) * width();
  const py = (y) => TOP + (1 - (y - low()) / (1.02 - low())) * height();
  const ux = (x) => ((x - LEFT) / width()) * 1.04 - 0.02;
  const uy = (y) => low() + (1 - (y - TOP) / height()) * (1.02 - low());

  function points() {
    const view = model.get("points");
    if (!view?.byteLength) return new Float32Array();
    return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
  }

  function showAxes() {
    axes.replaceChildren();
    const t = model.get("threshold");
    const rule = (x1, y1, x2, y2, name = "") =>
      draw("line", axes, { x1: px(x1), y1: py(y1), x2: px(x2), y2: py(y2), class: name });
    rule(0, 0, 1, 1);
    rule(-0.02, low(), 1.02, low());
    rule(-0.02, low(), -0.02, 1.02);
    rule(t, low(), t, 1.02, "dashed");
    rule(-0.02, t, 1.02, t, "dashed");
    for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
      const bottom = py(low()) + 14;
      draw("text", axes, { x: px(tick), y: bottom, "text-anchor": "middle" }, String(tick));
      draw("text", axes, { x: LEFT - 5, y: py(tick) + 3, "text-anchor": "end" }, String(tick));
    }
    const floor = py(model.get("no_box"));
    draw("text", axes, { x: LEFT - 5, y: floor + 6, "text-anchor": "end" }, "no box");
    const middle = LEFT + width() / 2;
    draw("text", axes, { x: middle, y: py(low()) + 29, "text-anchor": "middle" }, "on the true box");
    draw("text", axes, {
      transform: `translate(11 ${py(0.5)}) rotate(-90)`, "text-anchor": "middle",
    }, "on the found box");
  }

  function showPoints() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    canvas.width = Math.round(scatter.clientWidth * ratio);
    canvas.height = Math.round(scatter.clientHeight * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const all = points();
    const picked = model.get("picked");
    const bars = model.get("bars");
    const wanted = (i) => !picked?.byteLength || picked.getUint8(i);
    for (const pass of [0, 1]) { // those who are chosen lie on top
      for (let i = 0; i < all.length / 3; i++) {
        const [x, y, label] = all.subarray(3 * i, 3 * i + 3);
        if (!Number.isFinite(x) || Boolean(wanted(i)) !== Boolean(pass)) continue;
        pen.globalAlpha = pass ? 0.8 : 0.13;
        pen.fillStyle = bars[label].colour;
        pen.beginPath();
        pen.arc(px(x), py(y), 3.2, 0, 2 * Math.PI);
        pen.fill();
      }
    }
  }

  function showOutline() {
    const corners = model.get("chosen").outline ?? [];
    trace(corners.map(([x, y]) => [px(x), py(y)]));
  }

  const trace = (corners) => outline.setAttribute("points", corners.map(String).join(" "));

  function nearest(x, y) {
    let [best, distance] = [null, NEAR];
    const all = points();
    for (let i = 0; i < all.length; i += 3) {
      const d = Math.hypot(px(all[i]) - x, py(all[i + 1]) - y);
      if (d <= distance) [best, distance] = [[px(all[i]), py(all[i + 1])], d];
    }
    return best;
  }

  function send(corners) {
    model.send({ outline: corners.map(([x, y]) => [ux(x), uy(y)]) });
  }

  const box = ([x1, y1], [x2, y2]) => [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];

  function at(event) {
    const frame = svg.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  svg.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    svg.setPointerCapture(event.pointerId);
    line = { from: at(event), corners: [at(event)], box: event.shiftKey };
  });
  svg.addEventListener("pointermove", (event) => {
    if (!line) return;
    const here = at(event);
    if (line.box) line.corners = box(line.from, here);
    else line.corners.push(here);
    trace(line.corners);
  });
  svg.addEventListener("pointerup", (event) => {
    if (!line) return;
    const { from, corners } = line;
    line = null;
    const far = Math.max(...corners.map(([x, y]) => Math.hypot(x - from[0], y - from[1])));
    if (far >= 5 && corners.length > 2) return send(corners);
    const point = nearest(...at(event));
    if (point) send(box(point.map((v) => v - 0.5), point.map((v) => v + 0.5)));
    else model.send({ clear: true });
  });
  svg.addEventListener("pointercancel", () => {
    line = null;
    showOutline();
  });
  el.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    model.send({ clear: true });
  });

  function showScatter() {
    if (!scatter.clientWidth) return; // not on the page yet, or hidden
    showAxes();
    showPoints();
    if (!line) showOutline();
    svg.setAttribute("aria-label", `OKS of ${points().length / 3} people on both boxes`);
  }

  let asked = 0; // several values that change together are drawn once
  function show() {
    cancelAnimationFrame(asked);
    asked = requestAnimationFrame(() => {
      keepingFocus(() => {
        showBars();
        showJoints();
      });
      showScatter();
      el.dataset.shown = String(Number(el.dataset.shown || 0) + 1);
    });
  }

  for (const name of ["bars", "joints", "points", "picked", "chosen", "threshold"]) {
    model.on(`change:${name}`, show);
  }
  const watch = new ResizeObserver(showScatter);
  watch.observe(scatter);
  show();
  return () => {
    watch.disconnect();
    cancelAnimationFrame(asked);
  };
}

export default { render };
