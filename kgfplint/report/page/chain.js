// The steps of a finding as a picture: a box for each function, from what makes the code atomic down to what is wrong.

const MARKS = { root: "atomic root", lock: "lock", call: "call", alloc: "allocates", free: "frees", "": "step" };
const CHAIN = { width: 900, left: 34, bare: 4, indent: 22, line: 18, pad: 9, chip: 84, gap: 22 };
const measure = document.createElement("canvas").getContext("2d");

/** Break a text into lines of at most so many pixels. */
function wrapped(text, width, font) {
  measure.font = font;
  const lines = [""];
  for (const word of text.split(" ")) {
    const grown = lines[lines.length - 1] ? `${lines[lines.length - 1]} ${word}` : word;
    if (measure.measureText(grown).width <= width) lines[lines.length - 1] = grown;
    else lines.push(word);
  }
  return lines.filter((line, number) => line || !number);
}

/** Cut a line of code to so many pixels. */
function cut(text, width) {
  measure.font = "12px monospace";
  const most = Math.floor(width / (measure.measureText("0000000000").width / 10));
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** Return the boxes: steps that follow each other in one function share one. */
function boxesOf(trace) {
  const boxes = [];
  for (const [path, line, name, note, mark] of trace) {
    const last = boxes[boxes.length - 1];
    const code = ((DATA.sources[path] || {})[line] || "").trim().replace(/\s+/g, " ");
    const step = { line, note, mark, code };
    if (last && last.path === path && last.name === name) last.steps.push(step);
    else boxes.push({ path, name, steps: [step] });
  }
  return boxes;
}

function drawStep(step, x, y, width) {
  const parts = [];
  const tone = step.mark || "other";
  parts.push(svg("g", { class: tone }, svg("rect", { class: "chip", x, y: y - 13, width: CHAIN.chip, height: 17, rx: 8.5 }),
    svg("text", { x: x + CHAIN.chip / 2, y: y - 0.5 }, MARKS[step.mark])));
  const lines = wrapped(step.note, width - CHAIN.chip - 10, "13px sans-serif");
  lines.forEach((line, number) => parts.push(svg("text", { x: x + CHAIN.chip + 10, y: y + number * CHAIN.line }, line)));
  y += lines.length * CHAIN.line;
  if (step.code) {
    parts.push(svg("rect", { class: "strip", x: x + CHAIN.chip + 10, y: y - 13, width: width - CHAIN.chip - 10, height: 17, rx: 3 }));
    parts.push(svg("text", { class: "code faint", x: x + CHAIN.chip - 2, y, "text-anchor": "end" }, String(step.line)));
    parts.push(svg("text", { class: "code", x: x + CHAIN.chip + 16, y }, cut(step.code, width - CHAIN.chip - 24)));
    y += CHAIN.line;
  }
  return { parts, y: y + 4 };
}

/** Draw where it is atomic: beside all from the lock or the root down to what must not be there. */
function drawBand(from, to) {
  const x = 16, middle = Math.min((from + to) / 2, from + 70);
  const label = to - from > 110 ? "must not sleep" : to - from > 46 ? "atomic" : "";
  return [svg("rect", { class: "band", x, y: from, width: 5, height: to - from, rx: 2.5 }),
    svg("text", { class: "banded", x: 0, y: 0, "text-anchor": "middle", transform: `translate(${x - 5} ${middle}) rotate(-90)` }, label)];
}

function chainPicture(finding) {
  const parts = [];
  let y = 6, band = 0, atomic = null;
  const left = finding.trace.some((step) => ["lock", "root"].includes(step[4])) ? CHAIN.left : CHAIN.bare;
  boxesOf(finding.trace).forEach((box, depth) => {
    const x = left + Math.min(depth, 9) * CHAIN.indent, width = CHAIN.width - x - 4, top = y, inner = [];
    inner.push(svg("text", { class: "title", x: x + CHAIN.pad, y: y + 18 }, box.name ? `${box.name}()` : "outside functions"));
    inner.push(svg("text", { class: "code faint", x: x + width - CHAIN.pad, y: y + 18, "text-anchor": "end" }, box.path));
    y += 18 + CHAIN.line + 4;
    for (const step of box.steps) {
      const at = y - 13;
      const drawn = drawStep(step, x + CHAIN.pad, y, width - 2 * CHAIN.pad);
      inner.push(...drawn.parts);
      y = drawn.y;
      if (step.mark === "lock" || step.mark === "root") band = band || at;
      else if (band && (step.mark === "alloc" || step.mark === "free")) atomic = [band, y - 8];
    }
    y += CHAIN.pad - 13;
    parts.push(svg("rect", { class: "box", x, y: top, width, height: y - top, rx: 6 }), ...inner);
    if (depth) {
      const from = x - CHAIN.indent / 2;
      parts.push(svg("path", { class: "arrow", d: `M${from} ${top - CHAIN.gap} V${top + 14} H${x - 6}` }),
        svg("path", { class: "tip", d: `M${x} ${top + 14} l-8 -4 v8 z` }));
    }
    y += CHAIN.gap;
  });
  if (atomic) parts.push(...drawBand(...atomic));
  const said = finding.trace.map(([, , name, note]) => `${name}: ${note}`).join("; ");
  const height = y - CHAIN.gap + 6;
  return svg("svg", { class: "chain", viewBox: `0 0 ${CHAIN.width} ${height}`, width: CHAIN.width, height, role: "img",
    "aria-label": said }, ...parts);
}
