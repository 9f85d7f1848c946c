// The image: zoom, pan, hover and keys. Python draws; between two drawings the last one is moved.
const SETTLE_MS = 90;
const NEAR = 12; // pixels from a joint at which it is told
const KEYS = {
  ArrowLeft: "previous", ArrowRight: "next", Home: "first", End: "last",
  g: "truth", p: "poses", c: "crops", r: "rings", h: "heat", b: "boxes",
};

function render({ model, el }) {
  el.classList.add("kptk", "kptk-view");
  el.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own keys must not act as well
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  const tip = document.createElement("div");
  tip.className = "kptk-tip";
  tip.hidden = true;
  el.append(canvas, tip);
  const pen = canvas.getContext("2d");
  let view = null; // the part of the image that is seen: x1, y1, x2, y2
  let bitmap = null;
  let covers = null; // the part of the image that the bitmap shows
  let jump = null;
  let timer = 0;

  const image = () => model.get("image_size");
  const scale = () => canvas.clientWidth / (view[2] - view[0]);

  function size() {
    const [w, h] = image();
    const room = el.clientWidth || 640;
    const width = Math.max(120, Math.min(room, (model.get("height") * w) / h));
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${(width * h) / w}px`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round((width * ratio * h) / w);
  }

  function paint() {
    if (!bitmap || !view) return;
    const k = canvas.width / (view[2] - view[0]);
    pen.imageSmoothingQuality = "high";
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(
      bitmap, (covers[0] - view[0]) * k, (covers[1] - view[1]) * k,
      (covers[2] - covers[0]) * k, (covers[3] - covers[1]) * k,
    );
  }

  async function load() {
    const bytes = model.get("picture");
    const region = model.get("region");
    const number = model.get("jump");
    if (!bytes || !bytes.byteLength) { // there is no page
      bitmap?.close();
      bitmap = null;
      tip.hidden = true;
      return pen.clearRect(0, 0, canvas.width, canvas.height);
    }
    const next = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
    bitmap?.close();
    bitmap = next;
    covers = region;
    if (jump !== number) {
      jump = number;
      view = [...region];
      tip.hidden = true;
    }
    size();
    paint();
    canvas.setAttribute("aria-label", model.get("label"));
    el.dataset.shown = String(Number(el.dataset.shown || 0) + 1);
    el.dataset.view = view.map((v) => v.toFixed(1)).join(" ");
  }

  function ask() {
    clearTimeout(timer);
    el.dataset.view = view.map((v) => v.toFixed(1)).join(" ");
    timer = setTimeout(() => {
      model.set("wanted", [...view]);
      model.save_changes();
    }, SETTLE_MS);
  }

  function tellRoom() {
    // Python fits what it draws into the same room; it then needs no scaling here.
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const room = [Math.round((el.clientWidth || 640) * ratio), model.get("height") * ratio];
    if (String(room) === String(model.get("room"))) return;
    model.set("room", room);
    model.save_changes();
  }

  function move(x, y, factor) {
    // Scale round the image point under (x, y), and stay inside the image.
    const [w, h] = image();
    const share = Math.min(1, Math.max(16 / w, ((view[2] - view[0]) / w) * factor));
    const px = x / canvas.clientWidth;
    const py = y / canvas.clientHeight;
    place(
      view[0] + px * (view[2] - view[0] - w * share),
      view[1] + py * (view[3] - view[1] - h * share), share,
    );
  }

  function place(x, y, share) {
    const [w, h] = image();
    const left = Math.min(Math.max(0, x), w - w * share);
    const top = Math.min(Math.max(0, y), h - h * share);
    view = [left, top, left + w * share, top + h * share];
    paint();
    ask();
  }

  const whole = () => place(0, 0, 1);
  const zoom = (factor) => move(canvas.clientWidth / 2, canvas.clientHeight / 2, factor);
  const shift = (dx, dy) => place(view[0] + dx, view[1] + dy, (view[2] - view[0]) / image()[0]);
  const at = (event) => [view[0] + event.offsetX / scale(), view[1] + event.offsetY / scale()];

  function told(x, y) {
    let best = null;
    let distance = NEAR / scale();
    for (const mark of model.get("marks")) {
      const d = Math.hypot(mark[0] - x, mark[1] - y);
      if (d <= distance) [best, distance] = [mark[2], d];
    }
    return best ?? inside(x, y)?.[4] ?? null;
  }

  function inside(x, y, own = false) {
    const found = model.get("areas").filter(
      (a) => a[0] <= x && x <= a[2] && a[1] <= y && y <= a[3] && (!own || a[5] >= 0),
    );
    const area = (a) => (a[2] - a[0]) * (a[3] - a[1]);
    return found.sort((a, b) => area(a) - area(b))[0];
  }

  function hover(event) {
    const text = told(...at(event));
    tip.hidden = text === null;
    if (text === null) return;
    tip.textContent = text;
    const left = Math.min(event.offsetX + 14, Math.max(0, canvas.clientWidth - tip.offsetWidth));
    tip.style.left = `${canvas.offsetLeft + left}px`;
    tip.style.top = `${canvas.offsetTop + event.offsetY + 16}px`;
  }

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.focus({ preventScroll: true });
    if (!view) return;
    drag = { x: event.offsetX, y: event.offsetY, from: [...view], moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!view) return;
    if (!drag) return hover(event);
    const [dx, dy] = [event.offsetX - drag.x, event.offsetY - drag.y];
    if (!drag.moved && Math.hypot(dx, dy) < 4) return;
    drag.moved = true;
    tip.hidden = true;
    const [w] = image();
    place(drag.from[0] - dx / scale(), drag.from[1] - dy / scale(), (view[2] - view[0]) / w);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) {
      model.send({ select: inside(...at(event), true)?.[5] ?? null });
    }
    drag = null;
  });
  canvas.addEventListener("pointercancel", () => (drag = null));
  canvas.addEventListener("pointerleave", () => (tip.hidden = true));
  canvas.addEventListener("dblclick", whole);
  canvas.addEventListener("wheel", (event) => {
    // Only with the image in focus, so that scrolling past it does not zoom.
    if (!view || document.activeElement !== canvas) return;
    event.preventDefault();
    move(event.offsetX, event.offsetY, event.deltaY > 0 ? 1.2 : 1 / 1.2);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !view) return;
    const step = (view[2] - view[0]) / 8;
    const moves = {
      "+": () => zoom(1 / 1.4), "=": () => zoom(1 / 1.4), "-": () => zoom(1.4), 0: whole,
      a: () => shift(-step, 0), d: () => shift(step, 0),
      w: () => shift(0, -step), s: () => shift(0, step),
      Escape: () => model.send({ select: null }),
    };
    const act = moves[event.key] ?? (KEYS[event.key] && (() => model.send({ key: KEYS[event.key] })));
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  });

  model.on("change:picture", load);
  model.on("msg:custom", (message) => {
    if (message.zoom === 0) whole();
    else if (message.zoom) zoom(message.zoom);
  });
  const watch = new ResizeObserver(() => {
    if (!el.clientWidth) return; // not on the page yet, or hidden
    tellRoom();
    if (!view) return;
    size();
    paint();
  });
  watch.observe(el);
  load();
  return () => {
    watch.disconnect();
    clearTimeout(timer);
  };
}

export default { render };
