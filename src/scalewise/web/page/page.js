import { Viewer } from "./viewer.js";

const WAIT = 120; // milliseconds without a further change before work begins
const FLICKER = 420; // milliseconds a sample is shown: less than three changes a second

const $ = (id) => document.getElementById(id);
const form = $("panel");
const field = (name) => form.elements[name] ?? document.querySelector(`[name=${name}]`);
const number = (name) => Number(field(name).value);
const kind = () => document.querySelector("[name=kind]:checked").value;

const viewer = new Viewer($("canvas"), $("divider"), [$("tag-before"), $("tag-after")]);
let picture = null; // what the server said of the picture that is open
let made = null; // what it said of the output
let running = null; // AbortController of the work that goes on
let shown = []; // images of the samples of the output
let timer = 0;
let flicker = 0;

// ---- words

function say(text) {
  $("status").textContent = text;
}

function fail(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

function notes(sentences) {
  $("notes").replaceChildren(...sentences.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

async function refused(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `the server answered ${response.status}`;
  }
}

async function call(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; is scalewise serve still running?");
  }
  if (!response.ok) throw new Error(await refused(response));
  return response;
}

async function image(address, signal) {
  return createImageBitmap(await (await call(address, { signal })).blob());
}

const decoded = (base64) => createImageBitmap(new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))]));

// ---- opening

async function open(name, body) {
  stop();
  fail("");
  say(`Reading ${name}…`);
  try {
    const address = body ? `pictures?name=${encodeURIComponent(name)}` : "example";
    const told = await (await call(address, { method: "POST", body })).json();
    forget();
    picture = told;
    if (kind() === "synthesize") document.querySelector("[value=denoise]").click();
    await begin();
  } catch (error) {
    say(picture ? "The picture before is still open." : "Open a photo to begin.");
    fail(error.message);
  }
}

async function begin() {
  const plane = field("plane");
  plane.max = picture.planes;
  plane.value = 1;
  $("planes").hidden = picture.planes < 2;
  notes(picture.notes);
  $("noise").hidden = true;
  await show();
  const size = `${picture.width}×${picture.height}`;
  $("canvas").setAttribute("aria-label", `${picture.name}, ${size} pixels`);
  say(`${picture.name}, ${size}, ${picture.depth}.`);
  settle();
  if (kind() === "denoise" || kind() === "upscale") renew();
}

async function show() {
  const before = await image(`pictures/${picture.key}/before.png?plane=${number("plane") - 1}`);
  viewer.open(before, picture.width, picture.height, kind() === "upscale" ? number("factor") : 1);
  viewer.splitAt(0.5);
  $("empty").hidden = true;
  $("tools").hidden = false;
}

function forget() {
  for (const key of new Set([picture?.key, made?.key])) {
    if (key) navigator.sendBeacon(`pictures/${key}/forget`);
  }
  picture = made = null;
}

// ---- work

function wanted() {
  const common = { kind: kind(), seed: Math.max(0, Math.floor(number("seed"))) };
  if (field("model").value) common.model = field("model").value;
  if (common.kind === "synthesize") return { ...common, count: number("count") };
  common.samples = number("samples");
  common.plane = number("plane") - 1;
  common.view = viewer.view;
  if (common.kind === "denoise") {
    const own = field("own").checked;
    const partly = !field("strength").disabled;
    return {
      ...common,
      sigma: own ? number("sigma") : null,
      strength: partly ? number("strength") : 1,
      chroma: partly ? number("chroma") : 1,
      fidelity: common.samples ? 1 : number("fidelity"),
      uncertainty: field("uncertainty").checked,
    };
  }
  if (common.kind === "upscale") return { ...common, factor: number("factor"), uncertainty: field("uncertainty").checked };
  return common;
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(renew, WAIT);
}

async function renew() {
  clearTimeout(timer);
  if (!picture && kind() !== "synthesize") return;
  stop();
  fail("");
  const control = (running = new AbortController());
  const request = wanted();
  let address = "synthesize";
  if (request.kind !== "synthesize") address = `pictures/${picture.key}/make`;
  if (request.kind === "inpaint") request.mask = await painted();
  $("progress").hidden = $("cancel").hidden = false;
  $("progress").removeAttribute("value");
  $("save").disabled = true;
  say("Working…");
  const began = performance.now();
  try {
    const response = await call(address, {
      method: "POST",
      body: JSON.stringify(request),
      signal: control.signal,
    });
    for await (const message of lines(response)) {
      if (control !== running) return;
      await told(message, request, control.signal);
    }
    if (control === running && made) {
      const seconds = (performance.now() - began) / 1000;
      if ($("error").hidden) say(`Done in ${seconds.toFixed(1)} s${described(request)}.`);
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    if (control === running) {
      say("");
      fail(error.message);
    }
  }
  if (control === running) finish();
}

function described(request) {
  if (request.kind === "upscale") return `, ${made.width}×${made.height}`;
  if (made.samples > 1) return `, ${made.samples} samples`;
  return "";
}

async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

async function told(message, request, signal) {
  if (message.ahead) say(`${message.ahead} before you…`);
  if (message.noise) plot(message.noise);
  if (message.progress !== undefined) {
    $("progress").value = message.progress;
    if (message.progress) say(`${Math.round(100 * message.progress)} % of the whole`);
  }
  if (message.patch) {
    if (!viewer.patches.length) {
      mark("shown");
      say("Working…");
    }
    viewer.patch(message.patch, await decoded(message.png));
  }
  if (message.scale !== undefined) {
    const scale = await decoded(message.png);
    if (!picture) {
      const { width, height } = viewer;
      if (!width || !viewer.sheet) openSheet(scale);
      viewer.whole(scale);
    }
    say(message.scale ? `Scale ${message.scale} of the pictures…` : "The finest scale…");
  }
  if (message.error) fail(message.error);
  if (message.done) await done(message.done, request, signal);
}

function mark(name) {
  document.body.dataset[name] = Number(document.body.dataset[name] ?? 0) + 1;
}

function openSheet(scale) {
  viewer.open(null, scale.width * 8, scale.height * 8);
  viewer.sheet = true;
  $("empty").hidden = true;
  $("tools").hidden = false;
}

async function done(message, request, signal) {
  const before = made;
  made = message;
  const address = `pictures/${made.key}/${made.output}`;
  const plane = request.plane ?? 0;
  const wide = Array.from({ length: made.samples }, (_, sample) => `${address}/after.png?sample=${sample}&plane=${plane}`);
  try {
    shown = [await image(wide[0], signal)];
    let overlay = null;
    $("opaque").hidden = $("save-uncertainty").hidden = !made.uncertainty;
    if (made.uncertainty) {
      const response = await call(`${address}/uncertainty.png?plane=${plane}`, { signal });
      overlay = await createImageBitmap(await response.blob());
      $("opaque").textContent = `Orange: may be wrong; opaque from a deviation of ${response.headers.get("X-Most")} of 255.`;
    }
    if (request.kind === "synthesize") {
      const { width, height } = shown[0];
      viewer.open(null, width, height);
      viewer.sheet = true;
    } else viewer.sheet = false;
    if (request.kind === "inpaint") viewer.splitAt(0);
    viewer.whole(shown[0], overlay);
    notes([...new Set([...(picture?.notes ?? []), ...made.notes])]);
    $("samples").hidden = made.samples < 2;
    field("sample").max = made.samples;
    field("sample").value = 1;
    settle();
    for (const one of wide.slice(1)) shown.push(await image(one, signal));
    $("save").disabled = false;
    mark("done");
  } catch (error) {
    made = before;
    throw error;
  }
}

function stop() {
  running?.abort();
  running = null;
  finish();
}

function finish() {
  running = null;
  $("progress").hidden = $("cancel").hidden = true;
}

async function painted() {
  const blob = await viewer.mask.convertToBlob({ type: "image/png" });
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

// ---- the noise, as bars by the size of structures and a curve by intensity

function plot({ words, scales, curve }) {
  const [width, height, base, left] = [300, 118, 92, 30];
  const channels = scales[0].length === 3 ? ["red", "green", "blue"] : ["gray"];
  const most = Math.max(1e-6, ...scales.flat(), ...curve.map(([, level]) => level));
  const y = (level) => base - (base - 8) * (level / most);
  const parts = [];
  const half = curve.length ? 150 : width;
  const step = (half - left - 8) / scales.length;
  scales.forEach((levels, i) => {
    const bar = Math.min(14, (step - 6) / levels.length);
    levels.forEach((level, c) => {
      const x = left + i * step + 3 + c * bar;
      parts.push(`<rect class="${channels[c]}" x="${x}" y="${y(level)}" width="${bar - 1}" height="${base - y(level)}"/>`);
    });
    const size = scales.length > 1 ? 2 ** (i + 1) : "all";
    parts.push(`<text x="${left + i * step + 3}" y="${base + 12}">${size}</text>`);
  });
  parts.push(`<text x="${left}" y="${base + 24}">size of structures, px</text>`);
  if (curve.length) {
    const x = (place) => half + 16 + place * (width - half - 24);
    const ends = [[0, curve[0][1]], ...curve.filter(([place]) => place > 0 && place < 1), [1, curve.at(-1)[1]]];
    parts.push(`<path class="gray" d="M${ends.map(([place, level]) => `${x(place)} ${y(level)}`).join("L")}"/>`);
    parts.push(`<text x="${x(0)}" y="${base + 12}">black</text><text x="${x(1)}" y="${base + 12}" text-anchor="end">white</text>`);
    parts.push(`<text x="${x(0)}" y="${base + 24}">intensity</text>`);
  }
  parts.push(`<text x="0" y="14">${most.toPrecision(2)}</text><text x="0" y="${base}">0</text>`);
  parts.push(`<line class="axis" x1="${left}" y1="${base}" x2="${width}" y2="${base}"/>`);
  $("noise").hidden = false;
  $("noise").querySelector("figcaption").textContent = `Noise: ${words.join("; ")}`;
  const label = "Deviation of the noise, of 255, by the size of structures";
  $("noise").querySelector("div").innerHTML = `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}">${parts.join("")}</svg>`;
}

// ---- controls

function settle() {
  const now = kind();
  for (const part of document.querySelectorAll("[data-for]")) part.hidden = !part.dataset.for.split(" ").includes(now);
  $("own-sigma").hidden = !field("own").checked;
  const drawn = now === "denoise" && (number("samples") > 0 || number("fidelity") < 1 || field("uncertainty").checked);
  field("strength").disabled = field("chroma").disabled = drawn;
  field("fidelity").disabled = number("samples") > 0;
  viewer.brush = now === "inpaint" && picture ? { size: number("brush"), erase: field("erase").checked } : null;
  $("canvas").classList.toggle("painting", Boolean(viewer.brush));
  for (const output of form.querySelectorAll("label > output")) {
    const input = output.parentElement.querySelector("input");
    output.textContent = input.max === "1" && input.step === "1" ? "" : input.value;
  }
  viewer.draw();
}

for (const input of document.querySelectorAll("[name=kind]")) {
  input.addEventListener("change", async () => {
    stop();
    fail("");
    field("samples").value = kind() === "denoise" ? 0 : 1;
    field("uncertainty").checked = false;
    preset();
    $("samples").hidden = $("opaque").hidden = $("save-uncertainty").hidden = true;
    $("save").disabled = true;
    settle();
    if (kind() === "synthesize") {
      viewer.clear();
      $("empty").hidden = true;
      say("Draw makes new pictures.");
    } else if (picture) {
      await show();
      settle();
      say(kind() === "inpaint" ? "Paint over what is to be filled." : "");
      if (kind() !== "inpaint") renew();
    } else {
      viewer.clear();
      $("empty").hidden = false;
      $("tools").hidden = true;
      say("Open a photo to begin.");
    }
  });
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", async (event) => {
  const { name } = event.target;
  settle();
  if (name === "sample") return turn(number("sample") - 1);
  if (name === "flicker") return flickering();
  if (name === "plane" && picture) await show();
  if (name === "factor" && picture) await show();
  if (["brush", "erase", "count", "own"].includes(name) && !(name === "own" && picture)) return;
  if (!name || kind() === "inpaint" || kind() === "synthesize") return;
  later();
});

function turn(sample) {
  if (!shown[sample]) return;
  viewer.after = shown[sample];
  viewer.draw();
}

function flickering() {
  clearInterval(flicker);
  if (!field("flicker").checked) return;
  flicker = setInterval(() => {
    if (shown.length < 2) return;
    field("sample").value = (number("sample") % shown.length) + 1;
    settle();
    turn(number("sample") - 1);
  }, FLICKER);
}

viewer.addEventListener("view", () => {
  $("zoom").textContent = `${Math.round(100 * viewer.zoom)} %`;
  if (running && viewer.patches.length && kind() !== "inpaint") later(); // what is visible now first
});
$("in").onclick = () => viewer.zoomTo(viewer.zoom * 1.5);
$("out").onclick = () => viewer.zoomTo(viewer.zoom / 1.5);
$("fit").onclick = () => viewer.fit();
$("full").onclick = () => viewer.zoomTo(1);
$("cancel").onclick = () => {
  stop();
  say("Stopped; what you see is a part of it.");
};
$("fill").onclick = () => {
  if (!picture) return fail("open a photo first");
  if (!viewer.painted) return fail("paint over what is to be filled first");
  renew();
};
$("clear").onclick = () => viewer.erase();
$("draw").onclick = () => {
  forget();
  viewer.clear();
  viewer.sheet = false;
  renew();
};
$("example").onclick = () => open("the example", null);
$("file").onchange = (event) => {
  const [file] = event.target.files;
  if (file) open(file.name, file);
  event.target.value = "";
};
$("save").onclick = () => download(new URLSearchParams({ sample: number("sample") - 1, what: verbs[kind()], ...($("format").value && { as: $("format").value }) }));
$("save-uncertainty").onclick = () => download(new URLSearchParams({ uncertainty: "" }));
const verbs = { denoise: "denoised", upscale: "enlarged", inpaint: "filled", synthesize: "drawn" };

async function download(query) {
  try {
    const response = await call(`pictures/${made.key}/${made.output}/download?${query}`);
    const left = response.headers.get("X-Notes");
    if (left) notes([decodeURIComponent(left)]);
    const named = response.headers.get("Content-Disposition").split("''")[1];
    const link = Object.assign(document.createElement("a"), {
      href: URL.createObjectURL(await response.blob()),
      download: decodeURIComponent(named),
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  } catch (error) {
    fail(error.message);
  }
}

// ---- dropping and pasting

addEventListener("dragover", (event) => {
  event.preventDefault();
  $("stage").classList.add("over");
});
addEventListener("dragleave", (event) => event.relatedTarget ?? $("stage").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("stage").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) open(file.name, file);
  else fail("that was no file; drop one from a folder");
});
addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) open(file.name || "pasted.png", file);
});
addEventListener("pagehide", (event) => {
  if (!event.persisted) forget();
});

// ---- dark or light

$("theme").onclick = () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
};

let models = [];
const sized = () => models.find((model) => model.size && model.name !== models[0].name)?.name ?? models.find((model) => model.size)?.name;
const preset = () => { field("model").value = (kind() === "synthesize" ? sized() : models[0]?.name) ?? ""; }; // models may come later

async function start() {
  try {
    const facts = await (await call("facts")).json();
    models = facts.models;
    field("model").replaceChildren(...models.map(({ name }) => new Option(name, name)));
    preset();
    $("limits").textContent = `Up to ${facts.limits.megapixels} megapixels.`;
  } catch (error) {
    fail(error.message);
  }
  settle();
}
start();
