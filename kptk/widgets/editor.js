// The face of kptk.LabelEditor. It draws the scene that Python sends and sends back what was done;
// people and edits live in Python (edits.py). Coordinates are pixels of the image.

const SVG = "http://www.w3.org/2000/svg";
const CORNERS = [["x1", "y1"], ["x2", "y1"], ["x2", "y2"], ["x1", "y2"]];
const STATES = [["–", "not labelled"], ["○", "hidden"], ["●", "visible"]];
const ICONS = { // strokes in a box of 24 x 24
  previous: "M15 5l-7 7 7 7", next: "M9 5l7 7-7 7",
  undo: "M4 9h11a5 5 0 0 1 0 10h-4M8 5L4 9l4 4", redo: "M20 9H9a5 5 0 0 0 0 10h4M16 5l4 4-4 4",
  add: "M12 5v14M5 12h14", help: "M8.5 9a3.5 3.5 0 1 1 5 3.2c-1 .5-1.5 1.2-1.5 2.3M12 18.5v.5",
  fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5", bin: "M6 6l12 12M18 6L6 18",
  zoom: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 1 0 0-13M15.5 15.5L20 20M10.5 8v5M8 10.5h5",
};
const MARGIN = 0.015; // of the image's longer side, so that handles at its edge can be seen
const CLICK = 4; // screen pixels that a click may move
const HELP = [
  ["n  p", "next, previous image"],
  ["]  [", "next, previous person"],
  ["j  k", "next, previous joint"],
  ["2  1  0", "joint is visible, hidden, not labelled"],
  ["arrows", "move the joint by a pixel; with Shift by ten"],
  ["b", "draw a box: add a person"],
  ["d", "show or hide detections; click one to add it"],
  ["Delete", "remove the label of the joint, or else the person"],
  ["Ctrl+Z", "undo; Ctrl+Shift+Z or Ctrl+Y: redo"],
  ["Ctrl+S", "save"],
  ["z  f", "zoom to the person, to the whole image"],
  ["+  −", "zoom; so does Ctrl+wheel. Drag the image to move it"],
  ["Esc", "cancel; choose nothing"],
];

/** An HTML element: properties starting with "on" are listeners, the others attributes. */
function html(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

const icon = (name) => svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" },
  svg("path", { d: ICONS[name] }));
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);

class Editor {
  constructor(model, el) {
    this.model = model;
    this.setup = model.get("_setup");
    this.drag = null; // what a pressed pointer is doing
    this.mode = null; // "box": a box is to be drawn; {joint, v}: a joint is to be placed
    this.showMissed = true;
    this.build(el);
    const on = (names, action) => model.on(names, action);
    this.bound = [
      ["change:_scene", () => this.draw()],
      ["change:_message", () => (this.say(), this.draw())],
      ["change:_picture", () => this.showPicture()],
      ["change:person_id", () => this.draw()],
      ["change:joint", () => this.draw()],
      ["change:height", () => this.setHeight()],
      ["change:path", () => (this.path.value = model.get("path"))],
    ];
    this.bound.forEach(([name, action]) => on(name, action));
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.stage);
    this.showPicture();
    this.say();
  }

  dispose() {
    this.bound.forEach(([name, action]) => this.model.off(name, action));
    this.resized.disconnect();
    URL.revokeObjectURL(this.url);
  }

  // ---------------------------------------------------------------- what is there

  get scene() { return this.model.get("_scene"); }
  get person() { return this.scene.people.find((p) => p.id === this.model.get("person_id")); }
  get joint() { return this.model.get("joint"); }

  send(what, details = {}) { this.model.send({ do: what, ...details }); }

  select(person, joint = null) {
    this.mode = null;
    this.model.set("person_id", person);
    this.model.set("joint", joint);
    this.model.save_changes();
    this.draw();
  }

  // ---------------------------------------------------------------- the parts

  build(el) {
    const button = (key, title, action, text = "") =>
      html("button", { type: "button", title, "aria-label": title, "data-key": key,
        onclick: () => { action(); this.focus(); } }, ICONS[key] ? icon(key) : null, text);
    this.place = html("span", { class: "place", "aria-live": "polite" });
    this.undo = button("undo", "Undo (Ctrl+Z)", () => this.send("undo"));
    this.redo = button("redo", "Redo (Ctrl+Shift+Z)", () => this.send("redo"));
    this.adder = button("add", "Draw the box of a new person (b)",
      () => this.setMode(this.mode === "box" ? null : "box"), "person");
    this.misser = button("missed", "Detections that nobody labelled (d)",
      () => this.toggleMissed());
    this.least = html("input", { type: "range", min: 0, max: 1, step: 0.05, class: "least",
      "aria-label": "Lowest score of a detection", value: this.model.get("min_score"),
      oninput: () => this.setLeast() });
    this.misser.hidden = this.least.hidden = !this.setup.candidates;
    this.bar = html("div", { class: "bar", role: "toolbar", "aria-label": "Tools" },
      button("previous", "Previous image (p)", () => this.send("step", { by: -1 })),
      button("next", "Next image (n)", () => this.send("step", { by: 1 })),
      this.place, html("span", { class: "gap" }), this.undo, this.redo, this.adder, this.misser,
      this.least, button("fit", "Show the whole image (f)", () => this.fit()),
      button("zoom", "Zoom to the person (z)", () => this.zoomToPerson()),
      button("help", "Keys", () => this.toggleHelp()));
    this.stage = svg("svg", { class: "stage", tabindex: -1, role: "img" });
    this.setHeight();
    this.hint = html("div", { class: "hint", role: "status" });
    this.help = html("div", { class: "help", hidden: true, role: "dialog", "aria-label": "Keys" },
      html("dl", {}, ...HELP.flatMap(([k, v]) => [html("dt", {}, k), html("dd", {}, v)])));
    this.people = html("div", { class: "people", role: "list", "aria-label": "People" });
    this.joints = html("div", { class: "joints", role: "list", "aria-label": "Joints" });
    this.path = html("input", { type: "text", "aria-label": "File to save to", spellcheck: "false",
      value: this.model.get("path") });
    this.replace = html("input", { type: "checkbox" });
    this.message = html("span", { class: "message", role: "status" });
    this.saver = button("save", "Save to a new file (Ctrl+S)", () => this.save(), "Save");
    this.saver.classList.add("primary");
    this.root = html("div", { class: "kptk kptk-editor", tabindex: 0, role: "application",
      "aria-label": "Label editor", "data-lm-suppress-shortcuts": "true" },
      this.bar,
      html("div", { class: "body" },
        html("div", { class: "view" }, this.stage, this.hint, this.help),
        html("div", { class: "side" }, this.people, this.joints)),
      html("div", { class: "foot" }, this.path,
        html("label", { title: "Write over a file of that name" }, this.replace, " replace"),
        this.saver, this.message));
    this.listen();
    el.append(this.root);
  }

  listen() {
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.stage.addEventListener("pointerdown", (event) => this.press(event));
    this.stage.addEventListener("pointermove", (event) => this.move(event));
    this.stage.addEventListener("pointerup", (event) => this.release(event));
    this.stage.addEventListener("pointercancel", () => { this.drag = null; this.draw(); });
    this.stage.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 300), this.at(event));
    }, { passive: false });
  }

  focus() { this.root.focus({ preventScroll: true }); }

  showPicture() {
    URL.revokeObjectURL(this.url);
    const bytes = this.model.get("_picture");
    this.url = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
    this.mode = null;
    this.fit();
  }

  say() {
    const { kind = "", text = "" } = this.model.get("_message");
    this.message.textContent = text;
    this.message.className = `message ${kind}`;
  }

  save() { this.send("save", { path: this.path.value, overwrite: this.replace.checked }); }

  setHeight() { this.stage.style.height = `${this.model.get("height")}px`; }

  setMode(mode) { this.mode = mode; this.draw(); }

  toggleMissed() { this.showMissed = !this.showMissed; this.draw(); }

  setLeast() {
    this.model.set("min_score", Number(this.least.value));
    this.model.save_changes();
  }

  toggleHelp() { this.help.hidden = !this.help.hidden; }

  // ---------------------------------------------------------------- zoom

  fit() {
    const { width, height } = this.scene.image;
    const edge = MARGIN * Math.max(width, height);
    this.look = { x: -edge, y: -edge, w: width + 2 * edge, h: height + 2 * edge };
    this.draw();
  }

  zoom(factor, [x, y] = [this.look.x + this.look.w / 2, this.look.y + this.look.h / 2]) {
    const { width, height } = this.scene.image;
    const scale = clamp(factor, this.look.w / (2 * width), this.look.w / 16);
    if (this.look.w / scale > width && this.look.h / scale > height) return this.fit();
    this.look = { x: x - (x - this.look.x) / scale, y: y - (y - this.look.y) / scale,
      w: this.look.w / scale, h: this.look.h / scale };
    this.draw();
  }

  zoomToPerson() {
    if (!this.person) return;
    const [x1, y1, x2, y2] = this.person.box;
    const w = 1.3 * (x2 - x1), h = 1.3 * (y2 - y1);
    this.look = { x: (x1 + x2 - w) / 2, y: (y1 + y2 - h) / 2, w, h };
    this.draw();
  }

  /** Image coordinates of a pointer. */
  at(event) {
    const point = new DOMPoint(event.clientX, event.clientY);
    const { x, y } = point.matrixTransform(this.stage.getScreenCTM().inverse());
    return [x, y];
  }

  // ---------------------------------------------------------------- the pointer

  press(event) {
    if (event.button) return;
    event.preventDefault();
    this.focus();
    this.stage.setPointerCapture(event.pointerId);
    const hit = event.target.closest("[data-part]")?.dataset ?? {};
    const start = this.at(event);
    const base = { start, screen: [event.clientX, event.clientY], moved: false };
    if (this.mode === "box") this.drag = { ...base, part: "new", box: [...start, ...start] };
    else if (this.mode) this.drag = { ...base, part: "place" };
    else this.drag = { ...base, part: hit.part ?? "picture", person: Number(hit.person),
      index: Number(hit.index), look: { ...this.look } };
    if (hit.part === "joint" && !this.mode) this.select(this.drag.person, this.drag.index);
  }

  move(event) {
    const drag = this.drag;
    if (!drag) return;
    const away = Math.hypot(event.clientX - drag.screen[0], event.clientY - drag.screen[1]);
    drag.moved ||= away > CLICK;
    if (!drag.moved) return;
    drag.now = this.inside(this.at(event));
    if (drag.part === "new") drag.box = [...this.inside(drag.start), ...drag.now];
    else if (drag.part === "corner") drag.box = this.dragCorner(drag);
    else if (drag.part !== "joint" && drag.part !== "place") this.pan(event);
    this.draw();
  }

  release(event) {
    const drag = this.drag;
    this.drag = null;
    if (!drag) return;
    const end = this.inside(this.at(event));
    if (drag.part === "new") this.finishBox(drag);
    else if (drag.part === "place") this.placeJoint(end);
    else if (drag.part === "joint" && drag.moved) this.dropJoint(drag, end);
    else if (drag.part === "corner" && drag.moved)
      this.send("set_box", { person: drag.person, box: drag.box });
    else if (!drag.moved) this.click(drag);
  }

  inside([x, y]) {
    const { width, height } = this.scene.image;
    return [clamp(x, 0, width), clamp(y, 0, height)];
  }

  dragCorner({ person, index, now }) {
    const box = [...this.scene.people.find((p) => p.id === person).box];
    const [x, y] = CORNERS[index];
    box[x === "x1" ? 0 : 2] = now[0];
    box[y === "y1" ? 1 : 3] = now[1];
    return box;
  }

  pan(event) {
    const { x, y, w, h } = this.drag.look;
    const unit = this.unit;
    this.look = { x: x - (event.clientX - this.drag.screen[0]) * unit,
      y: y - (event.clientY - this.drag.screen[1]) * unit, w, h };
  }

  dropJoint({ person, index }, [x, y]) { this.send("move_point", { person, joint: index, x, y }); }

  placeJoint([x, y]) {
    const { joint, v } = this.mode;
    this.mode = null;
    this.send("move_point", { person: this.person.id, joint, x, y, v });
  }

  finishBox({ moved, box }) {
    this.mode = null;
    if (moved) this.send("add", { box });
    this.draw();
  }

  click({ part, person, index }) {
    if (part === "missed") this.send("add", { candidate: index });
    else if (part === "box") this.select(person);
    else if (part === "picture") this.select(null);
  }

  // ---------------------------------------------------------------- the keyboard

  key(event) {
    event.stopPropagation(); // a notebook cell must not hear it
    if (event.target.matches("input")) {
      if (event.key === "Enter" && event.target === this.path) this.save();
      return;
    }
    const known = event.ctrlKey || event.metaKey ? this.controlKey(event) : this.plainKey(event);
    if (known) event.preventDefault();
  }

  controlKey({ key, shiftKey }) {
    const letter = key.toLowerCase();
    if (letter === "z") this.send(shiftKey ? "redo" : "undo");
    else if (letter === "y") this.send("redo");
    else if (letter === "s") this.save();
    else return false;
    return true;
  }

  plainKey({ key, shiftKey, altKey }) {
    const step = shiftKey ? 10 : 1;
    const actions = {
      n: () => this.send("step", { by: 1 }), p: () => this.send("step", { by: -1 }),
      "]": () => this.stepPerson(1), "[": () => this.stepPerson(-1),
      j: () => this.stepJoint(1), k: () => this.stepJoint(-1),
      0: () => this.setVisibility(0), 1: () => this.setVisibility(1),
      2: () => this.setVisibility(2),
      ArrowLeft: () => this.nudge(-step, 0), ArrowRight: () => this.nudge(step, 0),
      ArrowUp: () => this.nudge(0, -step), ArrowDown: () => this.nudge(0, step),
      b: () => this.setMode("box"), d: () => this.toggleMissed(),
      z: () => this.zoomToPerson(), f: () => this.fit(),
      "+": () => this.zoom(1.25), "=": () => this.zoom(1.25), "-": () => this.zoom(0.8),
      Delete: () => this.remove(), Backspace: () => this.remove(),
      "?": () => this.toggleHelp(), Escape: () => this.cancel(),
    };
    if (altKey || !Object.hasOwn(actions, key)) return false;
    actions[key]();
    return true;
  }

  stepPerson(by) {
    const { people } = this.scene;
    if (!people.length) return;
    const place = people.findIndex((p) => p.id === this.person?.id);
    const next = place < 0 ? (by > 0 ? 0 : people.length - 1) : place + by + people.length;
    this.select(people[next % people.length].id);
  }

  stepJoint(by) {
    if (!this.person) this.stepPerson(1);
    if (!this.person) return;
    const n = this.setup.names.length;
    this.select(this.person.id, ((this.joint ?? (by > 0 ? -1 : n)) + by + n) % n);
  }

  /** A joint without a position is put where the next click is. */
  setVisibility(v, joint = this.joint) {
    if (!this.person || joint == null) return;
    if (joint !== this.joint) this.select(this.person.id, joint);
    if (v && !this.person.points[joint]) this.setMode({ joint, v });
    else this.send("set_visibility", { person: this.person.id, joint, v });
  }

  nudge(dx, dy) {
    if (this.person?.points[this.joint])
      this.send("nudge", { person: this.person.id, joint: this.joint, dx, dy });
  }

  remove() {
    if (!this.person) return;
    if (this.joint != null) this.setVisibility(0);
    else this.send("remove", { person: this.person.id });
  }

  cancel() {
    if (!this.help.hidden) this.toggleHelp();
    else if (this.mode || this.drag) { this.drag = null; this.setMode(null); }
    else this.select(this.joint == null ? null : this.person?.id ?? null);
  }

  // ---------------------------------------------------------------- drawing

  draw() {
    if (!this.look) return;
    const { x, y, w, h } = this.look;
    this.stage.setAttribute("viewBox", `${x} ${y} ${w} ${h}`);
    this.unit = 1 / (this.stage.getScreenCTM()?.a || 1); // image pixels to a screen pixel
    this.drawStage();
    this.drawBar();
    this.drawSide();
  }

  drawStage() {
    const { image, people, crowds, missed } = this.scene;
    const chosen = this.person;
    const others = people.filter((p) => p !== chosen).sort((a, b) => area(b.box) - area(a.box));
    this.stage.setAttribute("aria-label", `${image.name}: ${people.length} people`);
    this.stage.classList.toggle("aiming", this.mode != null);
    this.stage.replaceChildren(
      svg("image", { href: this.url, width: image.width, height: image.height,
        preserveAspectRatio: "none", "data-part": "picture" }),
      ...crowds.map((box) => this.rect(box, "crowd")),
      ...(this.showMissed ? missed.map((m, i) => this.drawMissed(m, i)) : []),
      ...others.map((p) => this.drawPerson(p, false)),
      ...(chosen ? [this.drawPerson(chosen, true)] : []),
      ...(this.drag?.part === "new" ? [this.rect(this.drag.box, "new")] : []));
  }

  rect(box, kind, data = {}) {
    const [x1, y1, x2, y2] = box;
    return svg("rect", { class: kind, x: Math.min(x1, x2), y: Math.min(y1, y2),
      width: Math.abs(x2 - x1), height: Math.abs(y2 - y1), ...data });
  }

  drawMissed({ box, score, points }, index) {
    const data = { "data-part": "missed", "data-index": index };
    const label = svg("text", { x: box[0], y: box[1] - 4 * this.unit,
      "font-size": 12 * this.unit }, `+ ${score.toFixed(2)}`);
    return svg("g", { class: "missed", ...data },
      svg("title", {}, "A detection that nobody labelled: click to add it"),
      this.rect(box, "under"), this.rect(box, "over"), label,
      ...this.limbs(points, 1.5));
  }

  drawPerson(person, chosen) {
    const points = person.points.map((point, i) => this.pointNow(person, point, i));
    const dragged = this.drag?.part === "corner" && this.drag.person === person.id;
    const box = (dragged && this.drag.box) || person.box;
    const data = { "data-part": "box", "data-person": person.id };
    const kind = `${chosen ? "chosen" : "other"}${person.marked ? " marked" : ""}`;
    return svg("g", { class: kind },
      this.rect(box, "under"), this.rect(box, "over", data),
      ...this.limbs(points, chosen ? 3 : 2),
      ...points.map((point, i) => point && this.drawJoint(person, point, i, chosen)),
      ...(chosen ? this.handles(person, box) : []),
      chosen ? this.label(points) : null);
  }

  pointNow(person, point, joint) {
    const drag = this.drag;
    const dragged = drag?.part === "joint" && drag.moved && drag.person === person.id;
    return dragged && drag.index === joint ? [...drag.now, point[2]] : point;
  }

  limbs(points, width) {
    const { edges, sides, colours } = this.setup;
    const lines = edges.filter(([a, b]) => points[a] && points[b]).map(([a, b]) => {
      const side = sides[a] === sides[b] || sides[b] === "centre" ? sides[a]
        : sides[a] === "centre" ? sides[b] : "centre";
      const ends = { x1: points[a][0], y1: points[a][1], x2: points[b][0], y2: points[b][1] };
      return [ends, colours[side]];
    });
    return [
      ...lines.map(([ends]) => svg("line", { ...ends, class: "under", "stroke-width": width + 2 })),
      ...lines.map(([ends, stroke]) => svg("line", { ...ends, stroke, "stroke-width": width })),
    ];
  }

  drawJoint(person, [x, y, v], joint, chosen) {
    const colour = this.setup.colours[this.setup.sides[joint]];
    const r = (chosen ? 5 : 3.5) * this.unit;
    const data = { "data-part": "joint", "data-person": person.id, "data-index": joint };
    const marked = chosen && joint === this.joint;
    return svg("g", { class: v === 2 ? "joint visible" : "joint hidden", ...data },
      svg("title", {}, `${this.setup.names[joint]}: ${STATES[v][1]}`),
      marked ? svg("circle", { cx: x, cy: y, r: 2.2 * r, class: "ring" }) : null,
      svg("circle", { cx: x, cy: y, r: 1.9 * r, class: "hit" }),
      svg("circle", { cx: x, cy: y, r, class: "rim", "stroke-width": v === 2 ? 3 : 5.5 }),
      svg("circle", { cx: x, cy: y, r, stroke: colour, "stroke-width": v === 2 ? 1 : 2.5,
        fill: v === 2 ? colour : "rgb(18 18 22 / 55%)" }));
  }

  handles(person, [x1, y1, x2, y2]) {
    const side = 9 * this.unit;
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]].map(([x, y], i) =>
      svg("rect", { class: `handle corner${i % 2}`, x: x - side / 2, y: y - side / 2, width: side,
        height: side, "data-part": "corner", "data-person": person.id, "data-index": i }));
  }

  /** The chosen joint's name, beside it. */
  label(points) {
    const point = this.joint == null ? null : points[this.joint];
    if (!point) return null;
    return svg("text", { class: "name", x: point[0] + 14 * this.unit, y: point[1] + 4 * this.unit,
      "font-size": 13 * this.unit, "stroke-width": 3 }, this.setup.names[this.joint]);
  }

  drawBar() {
    const { image, done, undone, missed, unsaved } = this.scene;
    const where = image.place == null ? "" : `${image.place} / ${image.count}  `;
    this.place.replaceChildren(html("b", {}, where), image.name);
    this.undo.disabled = !done;
    this.redo.disabled = !undone;
    this.adder.setAttribute("aria-pressed", this.mode === "box");
    this.misser.setAttribute("aria-pressed", this.showMissed);
    const least = this.model.get("min_score");
    const noun = missed.length === 1 ? "detection" : "detections";
    this.misser.textContent = `${missed.length} ${noun} ≥ ${least.toFixed(2)}`;
    this.least.value = least;
    this.saver.textContent = unsaved ? "Save •" : "Save";
    this.hint.textContent = this.mode === "box" ? "Drag from corner to corner. Esc cancels."
      : this.mode ? `Click where the ${this.setup.names[this.mode.joint]} is. Esc cancels.` : "";
    this.hint.hidden = !this.mode;
  }

  drawSide() {
    const key = this.root.contains(document.activeElement) && document.activeElement.dataset.key;
    this.people.replaceChildren(...this.scene.people.map((person) => this.personRow(person)));
    this.joints.replaceChildren(...(this.person ? this.jointRows() : [html("p",
      { class: "kptk-note" }, "Choose a person: click into the image, or press ].")]));
    if (key && !this.root.contains(document.activeElement))
      (this.root.querySelector(`[data-key="${key}"]`) ?? this.root).focus({ preventScroll: true });
  }

  personRow(person) {
    const chosen = person === this.person;
    const count = person.points.filter(Boolean).length;
    return html("div", { class: chosen ? "row chosen" : "row", role: "listitem" },
      html("button", { type: "button", class: "main", "data-key": `person${person.id}`,
        "aria-pressed": String(chosen), onclick: () => this.select(chosen ? null : person.id) },
        person.marked ? html("span", { class: "flag", title: "to be looked at" }, "◆") : null,
        html("span", {}, `person ${person.id}`),
        html("span", { class: "kptk-note" }, `${count} of ${person.points.length}`)),
      html("button", { type: "button", class: "bin", "data-key": `bin${person.id}`,
        title: "Remove this person", "aria-label": `Remove person ${person.id}`,
        onclick: () => { this.send("remove", { person: person.id }); this.focus(); } },
      icon("bin")));
  }

  jointRows() {
    return this.setup.names.map((name, joint) => {
      const point = this.person.points[joint];
      const v = point ? point[2] : 0;
      const side = this.setup.sides[joint];
      const main = html("button", { type: "button", class: "main", "data-key": `joint${joint}`,
        "aria-pressed": String(joint === this.joint), onclick: () => this.chooseJoint(joint) },
        html("span", { class: "swatch", style: `background:${this.setup.colours[side]}` }), name);
      const states = STATES.map(([sign, word], state) => html("button", { type: "button",
        class: "state", "data-key": `joint${joint}v${state}`, title: `${word} (${state})`,
        "aria-label": `${name}: ${word}`, "aria-pressed": String(state === v),
        onclick: () => this.setVisibility(state, joint) }, sign));
      return html("div", { class: joint === this.joint ? "row chosen" : "row", role: "listitem" },
        main, html("span", { class: "states" }, ...states));
    });
  }

  chooseJoint(joint) {
    this.select(this.person.id, joint);
    if (!this.person.points[joint]) this.setMode({ joint, v: 2 });
    this.focus();
  }
}

export default {
  render({ model, el }) {
    const editor = new Editor(model, el);
    return () => editor.dispose();
  },
};
