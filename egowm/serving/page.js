// The connection, what is held down, and what is shown.

const $ = (id) => document.getElementById(id);
const query = window.location.search;
const ARROWS = { arrowup: "w", arrowdown: "s", arrowleft: "a", arrowright: "d" };
const GAVE_WAY = 4000;  // the websocket's code, see visit.py
const held = new Set();
const frames = [];  // that came and are not shown yet: [told, {name: bitmap}]
let model = null, socket = null, expected = null, parts = [], isBusy = true, sentAt = 0, shownAt = 0;
let begun = { type: "begin" }, asked = begun, postponed = null, times = [], isSaving = false, chain = Promise.resolve();

const say = (text) => { $("notice").textContent = text; $("notice").hidden = !text; };
// After the frames that came before, for a frame clears the notice.
const sayInTurn = (text) => { chain = chain.then(() => frames.push([{ type: "notice", text }, {}])); };
const send = (told) => socket.send(JSON.stringify(told));

function begin(told) {
  if (socket.readyState !== WebSocket.OPEN) {  // until it is open again
    postponed = told;
    return;
  }
  asked = told;
  isBusy = true;
  say("");
  if (told instanceof ArrayBuffer) socket.send(told);
  else send(told);
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/v1/walk${query}`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    begin(postponed || begun);
    postponed = null;
  };
  socket.onmessage = (event) => (typeof event.data === "string" ? told(JSON.parse(event.data)) : given(event.data));
  socket.onclose = (event) => {
    isBusy = true;
    isSaving = $("save").disabled = false;
    $("state").textContent = "not connected";
    if (event.code === GAVE_WAY) { comeAgain(); return; }
    if (event.code !== 1008) sayInTurn("The connection is lost; the walk begins again when the server answers.");
    setTimeout(connect, 2000);
  };
}

// Not by itself: its place went to somebody who uses it.
function comeAgain() {
  const used = ["keydown", "pointerdown", "drop"], back = new AbortController();
  const connectAnew = () => { back.abort(); connect(); };
  used.forEach((kind) => addEventListener(kind, connectAnew, { signal: back.signal }));
}

function told(message) {
  if (message.type === "error") {
    isBusy = isSaving = false;
    $("save").disabled = false;
    sayInTurn(message.message);
    return;
  }
  if (message.type === "done") { isBusy = false; return; }
  if (message.type === "ready") begun = asked;  // what failed is not begun again
  expected = message;
  parts = [];
}

// A picture of the message before, or its video.
function given(data) {
  if (expected.type === "saved") { download(data); return; }
  parts.push(data);
  if (parts.length < expected.pictures.length) return;
  const message = expected, pictures = parts;
  chain = chain.then(async () => {
    const kind = { type: `image/${message.format}` };
    const maps = await Promise.all(pictures.map((part) => createImageBitmap(new Blob([part], kind))));
    if (message.type === "ready") {
      frames.length = 0;  // of the walk before
      isBusy = false;
    }
    frames.push([message, Object.fromEntries(message.pictures.map((name, k) => [name, maps[k]]))]);
  }).catch(() => say("A frame could not be read."));
}

function show([message, pictures]) {
  if (message.type === "notice") { say(message.text); return; }
  say("");  // what was wrong before is over
  if (message.type === "ready") {
    above.begin(message.outlines, message.room);
    times = [];
    $("unlike").textContent = message.unlike || "";
    $("unlike").hidden = !message.unlike;
    $("truth-figure").hidden = !message.room;
    $("above-figure").hidden = !model.planar;
  } else {
    above.add(message.pose, message.true_pose);
    times = [...times, performance.now()].slice(-9);
  }
  for (const [name, map] of Object.entries(pictures)) {
    paint($(name), map);
    map.close();
  }
  $("words").textContent = message.words || "the picture";
  $("stopped").textContent = message.stopped ? "held by a wall or a thing" : "";
  $("way").textContent = above.words();
  document.body.dataset.frame = message.number || 0;
  above.draw($("above"));
  report();
}

// Larger and smooth, or as it is; a browser alone would enlarge it in steps.
function paint(canvas, map) {
  const factor = Math.max(1, Math.min(4, Math.floor(1024 / map.width)));
  canvas.width = map.width * factor;
  canvas.height = map.height * factor;
  canvas.style.aspectRatio = `${map.width} / ${map.height}`;
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = !$("pixels").checked;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(map, 0, 0, canvas.width, canvas.height);
}

function report() {
  const count = times.length - 1, lasts = count > 0 ? (times[count] - times[0]) / 1000 : 0;
  const rate = lasts && performance.now() - times[count] < 1500 ? `, ${(count / lasts).toFixed(1)} frames a second` : "";
  $("state").textContent = `${model.name}, ${model.width}×${model.height}, frame ${document.body.dataset.frame || 0}${rate}`;
}

// What is wanted now: an action, or null to stand still ------------------------------------------

function gamepad() {
  for (const pad of navigator.getGamepads ? navigator.getGamepads() : []) {
    if (!pad) continue;
    const dead = (value) => (Math.abs(value || 0) < 0.15 ? 0 : value);
    const up = pad.buttons[12]?.pressed - pad.buttons[13]?.pressed || 0;
    const left = pad.buttons[14]?.pressed - pad.buttons[15]?.pressed || 0;
    return [up || -dead(pad.axes[1]), left || -dead(pad.axes[0]) || -dead(pad.axes[2])];
  }
  return [0, 0];
}

function wanted() {
  if ($("on").checked) return sliders();
  if (!model.keys) return null;
  const clip = (value) => Math.max(-1, Math.min(1, value));
  const [up, left] = gamepad();
  const ahead = clip(up + (held.has("w") || held.has("q") || held.has("e")) - held.has("s"));
  const turn = clip(left + (held.has("a") || held.has("q")) - (held.has("d") || held.has("e")));
  if (!ahead && !turn && !held.has(".")) return null;
  const rest = model.keys["."], part = (key, share) => model.keys[key].map((value, k) => share * (value - rest[k]));
  const moves = [part(ahead < 0 ? "s" : "w", Math.abs(ahead)), part(turn < 0 ? "d" : "a", Math.abs(turn))];
  return rest.map((value, k) => value + moves[0][k] + moves[1][k]);
}

function go(action) {
  isBusy = true;
  sentAt = performance.now();
  send({ type: "step", actions: Array(model.block).fill(action) });
}

function tick() {
  const now = performance.now(), speed = +$("speed").value;
  const pace = speed ? 1000 / model.rate_hz / speed : 0;
  if (frames.length && (model.block === 1 || now - shownAt >= Math.min(pace, 250))) {
    shownAt = now;
    show(frames.shift());
  }
  if (socket.readyState === WebSocket.OPEN && !isBusy && frames.length <= 1 && now - sentAt >= pace * model.block - 4) {
    const action = wanted();
    if (action) go(action);
  }
  requestAnimationFrame(tick);
}

// Sliders ----------------------------------------------------------------------------------------

const sliders = () => [...document.querySelectorAll("#sliders input")].map((slider) => +slider.value);
const resting = (k) => (model.keys ? model.keys["."][k] : Math.max(model.low[k], Math.min(model.high[k], model.kind === "command" ? (model.low[k] + model.high[k]) / 2 : 0)));

function makeSliders() {
  model.names.forEach((name, k) => {
    const row = document.createElement("label"), label = document.createElement("span");
    const range = document.createElement("small"), ends = [document.createElement("span"), document.createElement("span")];
    const slider = document.createElement("input"), value = document.createElement("output");
    const [low, high, unit] = [model.low[k], model.high[k], model.units[k]];
    row.className = "slider";
    label.textContent = label.title = name;
    Object.assign(slider, { type: "range", min: low, max: high, step: "any", value: resting(k), disabled: low === high });
    const tell = () => {
      const degrees = unit === "rad" ? ` (${(slider.value * 180 / Math.PI).toFixed(1)}°)` : "";
      value.textContent = `${(+slider.value).toFixed(3)} ${unit}${degrees}`;
    };
    slider.oninput = tell;
    [ends[0].textContent, ends[1].textContent] = [low.toFixed(3), high.toFixed(3)];
    range.append(...ends);
    tell();
    row.append(label, value, slider, range);
    $("sliders").append(row);
  });
}

// Buttons, keys, drops ---------------------------------------------------------------------------

function download(data) {
  isSaving = false;
  $("save").disabled = false;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([data], { type: "video/mp4" }));
  link.download = "walk.mp4";
  document.body.dataset.saved = data.byteLength;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function take(file) {
  const most = model.picture_bytes;
  if (!file) say("Expected the file of a picture.");
  else if (file.size > most) say(`Expected a picture of at most ${(most / 2 ** 20).toFixed(0)} MB, got ${(file.size / 2 ** 20).toFixed(0)} MB.`);
  else await file.arrayBuffer().then(begin, () => say("This file could not be read."));
}

function hold(key, isDown) {
  held[isDown ? "add" : "delete"](key);
  document.querySelector(`#pad [data-key="${key}"]`)?.classList.toggle("held", isDown);
}

function listen() {
  const keyOf = (event) => ARROWS[event.key.toLowerCase()] || event.key.toLowerCase();
  const writes = "select, textarea, input:not([type=checkbox], [type=file])";
  const typing = (event) => event.target.matches?.(writes) || event.ctrlKey || event.metaKey || event.altKey;
  addEventListener("keydown", (event) => {
    if (!model.keys || typing(event) || !(keyOf(event) in model.keys)) return;
    event.preventDefault();
    hold(keyOf(event), true);
  });
  addEventListener("keyup", (event) => { if (held.has(keyOf(event))) hold(keyOf(event), false); });
  addEventListener("blur", () => [...held].forEach((key) => hold(key, false)));
  for (const button of document.querySelectorAll("#pad button")) {
    const key = button.dataset.key;
    button.onpointerdown = (event) => { button.setPointerCapture(event.pointerId); hold(key, true); };
    button.onpointerup = button.onpointercancel = button.onlostpointercapture = () => hold(key, false);
    button.oncontextmenu = (event) => event.preventDefault();
  }
  $("again").onclick = () => begin(begun);
  $("room").onclick = () => begin({ type: "begin", room: Math.floor(Math.random() * 1e6) });
  $("file").onchange = (event) => { take(event.target.files[0]); event.target.value = ""; };
  $("shown").onchange = (event) => begin({ type: "begin", shown: +event.target.value });
  for (const name of ["shown", "speed"]) $(name).addEventListener("change", (event) => event.target.blur());  // keys drive again
  $("save").onclick = () => {
    if (isSaving || !expected || socket.readyState !== WebSocket.OPEN) return;
    isSaving = $("save").disabled = true;
    send({ type: "save" });
  };
  $("step").onclick = () => { if (!isBusy) go(sliders()); };
  $("still").onclick = () => document.querySelectorAll("#sliders input").forEach((slider, k) => { slider.value = resting(k); slider.oninput(); });
  $("pixels").onchange = (event) => ["imagined", "truth"].forEach((name) => $(name).classList.toggle("sharp", event.target.checked));
  addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
  addEventListener("drop", (event) => { event.preventDefault(); document.body.classList.remove("dropping"); take(event.dataTransfer.files[0]); });
  addEventListener("resize", () => above.draw($("above")));
}

function explain() {
  const keys = "Hold <kbd>W</kbd> <kbd>A</kbd> <kbd>S</kbd> <kbd>D</kbd>, the arrow keys, the pad or a gamepad.";
  const hint = [];
  if (model.keys) hint.push("KEYS");
  else hint.push(`Set the ${model.names.length} dimensions of the action, then take steps.`);
  if (model.block > 1) hint.push(`The model imagines ${model.block} frames at once, so an action lasts ${(model.block / model.rate_hz).toFixed(1)} s.`);
  if (model.state_is_guessed) hint.push("The body begins in the middle of its range.");
  hint.push(model.domain_is_known ? "Drop any picture to walk in it." : "Drop any picture to walk in it. Which pictures this model learned from is not known here, so none is called unlike them.");
  $("hint").textContent = hint.filter((text) => text !== "KEYS").join(" ");
  if (model.keys) $("hint").insertAdjacentHTML("afterbegin", `${keys} `);
}

fetch(`/v1/model${query}`).then(async (answer) => {
  model = await answer.json();
  if (!answer.ok) throw new Error(model.error);
  $("pad").hidden = !model.keys;
  document.querySelector("main").classList.toggle("body", !model.keys);
  $("numbers").open = !model.keys;
  $("room").hidden = !model.rooms;
  $("shown").hidden = model.pictures.length < 2;
  model.pictures.forEach((name, k) => $("shown").add(new Option(name, k)));
  makeSliders();
  explain();
  listen();
  connect();
  tick();
}).catch((error) => { $("state").textContent = "not connected"; say(error.message); });
