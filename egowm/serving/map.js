"use strict";
// The way from above: metres, degrees, walls and things where they are known.

const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const above = {
  outlines: [], ways: { imagined: [], truth: [] },

  begin(outlines, hasTruth) {
    this.outlines = outlines;
    this.ways = { imagined: [[0, 0, 0]], truth: hasTruth ? [[0, 0, 0]] : [] };
  },

  add(pose, truePose) {
    if (pose) this.ways.imagined.push(pose);
    if (truePose) this.ways.truth.push(truePose);
  },

  // Metres and degrees of what was driven, in words.
  words() {
    const way = this.ways.imagined;
    let metres = 0;
    for (let k = 1; k < way.length; k++) metres += Math.hypot(way[k][0] - way[k - 1][0], way[k][1] - way[k - 1][1]);
    const degrees = way.length ? way[way.length - 1][2] * 180 / Math.PI : 0;
    const turn = Math.abs(degrees) < 0.5 ? "no turn" : `${Math.abs(degrees).toFixed(0)}° ${degrees > 0 ? "left" : "right"}`;
    return `${metres.toFixed(1)} m, ${turn}`;
  },

  draw(canvas) {
    const side = canvas.clientWidth, ratio = window.devicePixelRatio || 1;
    if (!side) return;
    canvas.width = canvas.height = Math.round(side * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const points = [...this.ways.imagined, ...this.ways.truth];
    if (!points.length) return;
    const turned = points.map(([x, y]) => [-y, x]);  // to the right, up
    const low = [0, 1].map((k) => turned.reduce((least, p) => Math.min(least, p[k]), Infinity));
    const high = [0, 1].map((k) => turned.reduce((most, p) => Math.max(most, p[k]), -Infinity));
    const span = Math.max(high[0] - low[0], high[1] - low[1], 4) * 1.5;
    const scale = side / span, middle = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
    const at = ([x, y]) => [side / 2 + (-y - middle[0]) * scale, side / 2 - (x - middle[1]) * scale];
    for (const [corners, [r, g, b]] of this.outlines) {
      pen.fillStyle = `rgb(${r} ${g} ${b})`;
      this.trace(pen, corners.map(at));
      pen.fill();
    }
    this.way(pen, this.ways.truth, at, colourOf("--truth"));
    this.way(pen, this.ways.imagined, at, colourOf("--imagined"));
    this.ruler(pen, side, scale);
  },

  trace(pen, corners) {
    pen.beginPath();
    corners.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  },

  way(pen, poses, at, colour) {
    if (!poses.length) return;
    pen.lineJoin = pen.lineCap = "round";
    this.trace(pen, poses.map(at));
    pen.strokeStyle = colourOf("--panel"); pen.lineWidth = 6; pen.stroke();
    pen.strokeStyle = colour; pen.lineWidth = 3; pen.stroke();
    const [x, y] = at(poses[poses.length - 1]), turn = -poses[poses.length - 1][2];
    pen.save();
    pen.translate(x, y);
    pen.rotate(turn);
    this.trace(pen, [[0, -11], [7, 8], [0, 4], [-7, 8]]);
    pen.closePath();
    pen.fillStyle = colour; pen.fill();
    pen.strokeStyle = colourOf("--panel"); pen.lineWidth = 1.5; pen.stroke();
    pen.restore();
  },

  // A bar of a round length, at most a third of the map.
  ruler(pen, side, scale) {
    const room = side / 3 / scale, power = 10 ** Math.floor(Math.log10(room));
    const length = Math.max(...[1, 2, 5].map((k) => k * power).filter((k) => k <= room));
    const wide = length * scale, y = side - 14, text = `${+length.toPrecision(3)} m`;
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = colourOf("--panel");
    pen.globalAlpha = 0.85;
    pen.fillRect(6, y - 14, wide + pen.measureText(text).width + 24, 24);
    pen.globalAlpha = 1;
    pen.strokeStyle = pen.fillStyle = colourOf("--ink");
    pen.lineWidth = 1.5;
    this.trace(pen, [[12, y - 5], [12, y], [12 + wide, y], [12 + wide, y - 5]]);
    pen.stroke();
    pen.fillText(text, 18 + wide, y + 1);
  },
};
