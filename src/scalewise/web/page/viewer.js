// A picture before and after, with a divider: dragged, zoomed, panned, and moved by keyboard.
// Places are in pixels of the picture before; what comes after may have `factor` times as many.

const MOST = 64;

export class Viewer extends EventTarget {
  constructor(canvas, divider, tags) {
    super();
    this.canvas = canvas;
    this.divider = divider;
    this.tags = tags;
    this.split = 0.5;
    this.fitted = true;
    this.brush = null; // {size, erase} while painting
    this.pointers = new Map();
    this.clear();
    new ResizeObserver(() => (this.fitted ? this.fit() : this.draw())).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.#up(event));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("dblclick", () => (this.fitted ? this.zoomTo(1) : this.fit()));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    divider.addEventListener("pointerdown", (event) => divider.setPointerCapture(event.pointerId));
    divider.addEventListener("pointermove", (event) => {
      if (!divider.hasPointerCapture(event.pointerId)) return;
      const box = canvas.getBoundingClientRect();
      this.splitAt((event.clientX - box.left) / box.width);
    });
    divider.addEventListener("keydown", (event) => this.#dividerKey(event));
  }

  // What is shown: an image before (or none), its size, and how much larger the output is.
  open(before, width, height, factor = 1) {
    this.clear();
    Object.assign(this, { before, width, height, factor });
    this.mask = new OffscreenCanvas(width, height);
    this.cursor = [width / 2, height / 2];
    this.fit();
  }

  clear() {
    Object.assign(this, { before: null, after: null, overlay: null, patches: [], width: 0, height: 0, factor: 1 });
    this.mask = null;
    this.draw();
  }

  get view() {
    const { clientWidth, clientHeight } = this.canvas;
    const zoom = this.zoom * Math.min(1.5, devicePixelRatio || 1);
    return { left: this.left, top: this.top, width: clientWidth / this.zoom, height: clientHeight / this.zoom, zoom };
  }

  get painted() {
    if (!this.mask) return false;
    const { data } = this.mask.getContext("2d").getImageData(0, 0, this.width, this.height);
    for (let i = 3; i < data.length; i += 4) if (data[i]) return true;
    return false;
  }

  erase() {
    this.mask?.getContext("2d").clearRect(0, 0, this.width, this.height);
    this.draw();
  }

  patch(place, image) {
    this.patches.push([place, image]);
    this.draw();
  }

  whole(image, overlay = null) {
    Object.assign(this, { after: image, overlay, patches: [] });
    this.draw();
  }

  splitAt(share) {
    this.split = Math.min(1, Math.max(0, share));
    this.divider.setAttribute("aria-valuenow", Math.round(100 * this.split));
    this.divider.setAttribute("aria-valuetext", `${Math.round(100 * this.split)} % before`);
    this.draw();
  }

  fit() {
    const { clientWidth, clientHeight } = this.canvas;
    if (!this.width || !clientWidth) return this.draw();
    this.fitted = true;
    this.zoom = Math.min(clientWidth / this.width, clientHeight / this.height, 4);
    this.left = (this.width - clientWidth / this.zoom) / 2;
    this.top = (this.height - clientHeight / this.zoom) / 2;
    this.#changed();
  }

  zoomTo(zoom, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    if (!this.width) return;
    const wanted = Math.min(MOST, Math.max(Math.min(0.02, 200 / this.width), zoom));
    this.left += x / this.zoom - x / wanted;
    this.top += y / this.zoom - y / wanted;
    this.zoom = wanted;
    this.fitted = false;
    this.#changed();
  }

  pan(x, y) {
    this.left -= x / this.zoom;
    this.top -= y / this.zoom;
    this.fitted = false;
    this.#changed();
  }

  draw() {
    const { canvas, divider } = this;
    const ratio = devicePixelRatio || 1;
    const [wide, high] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(wide * ratio) || canvas.height !== Math.round(high * ratio)) {
      canvas.width = Math.round(wide * ratio);
      canvas.height = Math.round(high * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const made = this.after !== null || this.patches.length > 0;
    const compared = Boolean(made && this.before);
    divider.hidden = !compared;
    for (const tag of this.tags) tag.hidden = !compared;
    if (!this.width) return;
    const scale = ratio * this.zoom;
    pen.setTransform(scale, 0, 0, scale, -this.left * scale, -this.top * scale);
    pen.imageSmoothingQuality = "high";
    pen.imageSmoothingEnabled = this.zoom < 3 || this.factor > 1;
    if (this.before) pen.drawImage(this.before, 0, 0, this.width, this.height);
    pen.imageSmoothingEnabled = this.zoom / this.factor < 3;
    if (made) {
      const edge = compared ? this.left + (this.split * wide) / this.zoom : this.left;
      pen.save();
      pen.beginPath();
      pen.rect(edge, this.top, wide / this.zoom + 1, high / this.zoom);
      pen.clip();
      if (this.after) pen.drawImage(this.after, 0, 0, this.width, this.height);
      for (const [[x, y, w, h], image] of this.patches) {
        pen.drawImage(image, x / this.factor, y / this.factor, w / this.factor, h / this.factor);
      }
      if (this.overlay) pen.drawImage(this.overlay, 0, 0, this.width, this.height);
      pen.restore();
      divider.style.left = `${100 * this.split}%`;
    }
    if (this.brush && this.mask) {
      pen.save();
      if (compared) {
        pen.beginPath();
        pen.rect(this.left, this.top, (this.split * wide) / this.zoom, high / this.zoom);
        pen.clip();
      }
      pen.globalAlpha = 0.55;
      pen.drawImage(this.mask, 0, 0);
      pen.restore();
      pen.lineWidth = 2 / this.zoom;
      for (const [colour, more] of [["#000", 1], ["#fff", 0]]) {
        pen.strokeStyle = colour;
        pen.beginPath();
        pen.arc(...this.cursor, this.brush.size / 2 + more / this.zoom, 0, 2 * Math.PI);
        pen.stroke();
      }
    }
  }

  #changed() {
    this.draw();
    this.dispatchEvent(new Event("view"));
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #down(event) {
    if (!this.width) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.#place(event));
    this.painting = Boolean(this.brush && event.button === 0 && this.pointers.size === 1 && !event.shiftKey);
    if (this.painting) this.#paint(this.#place(event), null);
    else this.canvas.classList.add("moving");
  }

  #move(event) {
    const now = this.#place(event);
    if (this.brush) {
      this.cursor = [this.left + now[0] / this.zoom, this.top + now[1] / this.zoom];
      if (!this.pointers.size) this.draw();
    }
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const apart = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]) || 1;
      this.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
      this.zoomTo((this.zoom * apart(now)) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    } else if (this.painting) this.#paint(now, before);
    else this.pan(now[0] - before[0], now[1] - before[1]);
    this.pointers.set(event.pointerId, now);
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
    this.canvas.classList.remove("moving");
    if (this.painting) this.dispatchEvent(new Event("painted"));
    this.painting = false;
  }

  #paint(now, before) {
    const at = ([x, y]) => [this.left + x / this.zoom, this.top + y / this.zoom];
    this.#stroke(at(before ?? now), at(now));
  }

  #stroke(from, to) {
    const pen = this.mask.getContext("2d");
    pen.globalCompositeOperation = this.brush.erase ? "destination-out" : "source-over";
    pen.strokeStyle = "#ff3b30";
    pen.lineCap = "round";
    pen.lineWidth = this.brush.size;
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(to[0] + 0.01, to[1]);
    pen.stroke();
    this.draw();
  }

  #wheel(event) {
    event.preventDefault();
    this.zoomTo(this.zoom * 2 ** (-event.deltaY / (event.ctrlKey ? 100 : 400)), ...this.#place(event));
  }

  #key(event) {
    const step = 40;
    const arrows = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in arrows) {
      const [x, y] = arrows[event.key];
      if (this.brush && !event.shiftKey) {
        const by = Math.max(1, this.brush.size / 4);
        const from = this.cursor;
        this.cursor = [from[0] - x * by, from[1] - y * by];
        this.draw();
      } else this.pan(step * x, step * y);
    } else if (event.key === " " && this.brush) {
      this.#stroke(this.cursor, this.cursor);
      this.dispatchEvent(new Event("painted"));
    } else if (event.key === "+" || event.key === "=") this.zoomTo(this.zoom * 1.5);
    else if (event.key === "-") this.zoomTo(this.zoom / 1.5);
    else if (event.key === "0") this.fit();
    else if (event.key === "1") this.zoomTo(1);
    else return;
    event.preventDefault();
  }

  #dividerKey(event) {
    const steps = { ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02, PageUp: 0.1, PageDown: -0.1 };
    if (event.key in steps) this.splitAt(this.split + steps[event.key]);
    else if (event.key === "Home") this.splitAt(0);
    else if (event.key === "End") this.splitAt(1);
    else return;
    event.preventDefault();
  }
}
