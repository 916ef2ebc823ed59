"use strict";
const byId = (id) => document.getElementById(id);
const fps = Number(document.body.dataset.fps), last = Number(document.body.dataset.last);
const list = document.querySelector(".cards");
const cards = [...document.querySelectorAll(".card")].map((card) => ({
  card,
  last: Number(card.dataset.last),
  screens: [...card.querySelectorAll("figure")].map((figure) => {
    const canvas = figure.querySelector("canvas");
    return { canvas, pen: canvas.getContext("2d"), sheet: figure.querySelector(".sheet"), places: canvas.dataset.places.split(" ").map(Number), masks: figure.querySelector(".masks") };
  }),
  charts: [...card.querySelectorAll(".chart")].map((chart) => ({
    chart, cursor: chart.querySelector(".cursor"), left: Number(chart.dataset.left), step: Number(chart.dataset.step),
  })),
  paths: [...card.querySelectorAll(".path")].map((path) => ({
    robot: path.querySelector(".robot"), travelled: path.querySelector(".travelled"),
    poses: path.dataset.poses.split(" ").map((pose) => pose.split(",").map(Number)),
  })),
}));
let frame = 0, timer = 0, masked = true;

function draw(item) {
  const t = Math.min(frame, item.last);
  item.card.classList.toggle("at-start", t === 0);
  for (const { canvas: { width, height }, pen, sheet, places, masks } of item.screens) {
    if (!sheet.complete) continue;
    const [columns, down, right, top, left] = places, row = Math.floor(t / columns), column = t % columns;
    pen.drawImage(sheet, column * right + left, row * down + top, width, height, 0, 0, width, height);
    if (masked && masks && masks.complete) pen.drawImage(masks, column * width, row * height, width, height, 0, 0, width, height);
  }
  for (const { cursor, left, step } of item.charts) cursor.setAttribute("transform", `translate(${t * step} 0)`);
  for (const { robot, travelled, poses } of item.paths) {
    const [x, y, angle] = poses[t];
    robot.setAttribute("transform", `translate(${x} ${y}) rotate(${angle})`);
    travelled.setAttribute("points", poses.slice(0, t + 1).map((pose) => `${pose[0]},${pose[1]}`).join(" "));
  }
}
function show(t) {
  frame = Math.max(0, Math.min(last, t));
  const place = frame ? `Frame ${frame} of ${last} · ${(frame / fps).toFixed(1)} s` : "Frame 0, shared by all videos";
  byId("place").textContent = place;
  byId("frame").value = frame;
  byId("frame").setAttribute("aria-valuetext", place);
  cards.forEach(draw);
}
function wait() {
  const pause = frame === 0 || frame === last ? 900 : 0;
  timer = setTimeout(() => { show(frame === last ? 0 : frame + 1); wait(); }, pause + 1000 / fps / Number(byId("speed").value));
}
function play(on) {
  clearTimeout(timer);
  timer = 0;
  document.body.classList.toggle("playing", on);
  byId("play").setAttribute("aria-label", on ? "Pause" : "Play");
  if (on) wait();
}
function toggle() {
  masked = !masked;
  if (byId("masks")) byId("masks").setAttribute("aria-pressed", masked);
  cards.forEach(draw);
}
function step(by) { play(false); show(frame + by); }

const listed = [...list.querySelectorAll(".card")]; // those of a section below stay where they are
const places = new Map(listed.map((card, k) => [card.dataset.name, k]));
const orders = {
  typical: (a, b) => places.get(a.name) - places.get(b.name),
  worst: (a, b) => number(a.scs, 1e9) - number(b.scs, 1e9) || a.psnr - b.psnr,
  best: (a, b) => number(b.scs, -1) - number(a.scs, -1) || b.psnr - a.psnr,
  psnr: (a, b) => a.psnr - b.psnr,
  chance: (a, b) => a.chance - b.chance,
  name: (a, b) => a.name.localeCompare(b.name, "en", { numeric: true }),
};
function number(text, absent) { return text === "" ? absent : Number(text); }
byId("order").addEventListener("change", (event) => {
  const compare = orders[event.target.value];
  list.append(...listed.sort((a, b) => compare(a.dataset, b.dataset)));
});
if (byId("masks")) byId("masks").addEventListener("click", toggle);
for (const table of document.querySelectorAll(".sortable table")) {
  const heads = [...table.querySelectorAll("thead th")], body = table.tBodies[0];
  heads.forEach((head, k) => head.querySelector("button").addEventListener("click", () => {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = (row) => row.cells[k].dataset.value;
    const compare = (a, b) => (value(a) === "") - (value(b) === "") || (rising ? 1 : -1) * value(a).localeCompare(value(b), "en", { numeric: true });
    body.append(...[...body.rows].sort(compare));
  }));
}
byId("play").addEventListener("click", () => play(!timer));
byId("back").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("frame").addEventListener("input", (event) => { play(false); show(Number(event.target.value)); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
  if (event.key !== " " && event.target.closest("input")) return;
  if (event.key === " " && !event.target.closest("button, summary")) play(!timer);
  else if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else if (event.key === "m") toggle();
  else if (event.key === "Home" && !event.target.closest(".scroll")) step(-last);
  else return;
  event.preventDefault();
});
for (const item of cards) {
  for (const { sheet, masks } of item.screens) for (const image of [sheet, masks]) if (image) image.addEventListener("load", () => draw(item));
  for (const { chart, left, step: width } of item.charts) {
    const scrub = (event) => {
      if (!event.buttons) return;
      const box = chart.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
      play(false);
      show(Math.min(Math.max(Math.round((x - left) / width), 0), item.last));
    };
    chart.addEventListener("pointerdown", scrub);
    chart.addEventListener("pointermove", scrub);
  }
}
const wanted = new URLSearchParams(location.hash.slice(1)).get("frame"); // report.html#frame=8 opens still
show(Number(wanted));
play(wanted === null && !matchMedia("(prefers-reduced-motion: reduce)").matches);
