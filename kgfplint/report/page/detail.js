// What is shown of a finding that is open: its chain, the source, the guide, and what to do.

const GAP = 2;

/** Return the places of a finding in the order of its steps: path → line → what is there. */
function placesOf(finding) {
  const files = new Map();
  const note = (path, line, kind) => {
    if (!files.has(path)) files.set(path, new Map());
    const lines = files.get(path);
    lines.set(line, `${lines.get(line) || ""} ${kind}`);
  };
  finding.trace.forEach(([path, line]) => note(path, line, "step"));
  for (let line = finding.line; line <= finding.end; line += 1) note(finding.path, line, "here");
  return files;
}

function sourceOf(path, marks) {
  const known = DATA.sources[path];
  if (!known) return null;
  const wanted = new Set();
  for (const line of marks.keys()) for (let n = line - DATA.around; n <= line + DATA.around; n += 1) if (n in known) wanted.add(n);
  const rows = [];
  let last = null;
  for (const line of [...wanted].sort((a, b) => a - b)) {
    if (last !== null && line - last > GAP) rows.push(el("tr", { class: "gap" }, el("td", {}, "⋮"), el("td", {})));
    else for (let n = last + 1; last !== null && n < line; n += 1) rows.push(row(n, known[n] || "", ""));
    rows.push(row(line, known[line], marks.get(line) || ""));
    last = line;
  }
  return el("div", { class: "source" }, el("div", { class: "file code" }, path), el("table", {}, ...rows));
}

function row(number, text, kind) {
  return el("tr", { class: kind.trim() || null }, el("td", {}, String(number)), el("td", {}, text));
}

function fixOf(finding) {
  const rows = [];
  for (const [line, old, fresh] of finding.fix) {
    old.forEach((text, number) => rows.push(row(line + number, `- ${text}`, "gone")));
    fresh.forEach((text) => rows.push(row("", `+ ${text}`, "come")));
  }
  return el("div", { class: "source fix" }, el("div", { class: "file code" }, finding.path), el("table", {}, ...rows));
}

/** Return a text with what stands between backticks as code. */
function marked(text) {
  return text.split("`").map((piece, number) => (number % 2 ? el("code", {}, piece) : piece));
}

function detail(finding) {
  const rule = DATA.rules[finding.code];
  const parts = [];
  const part = (title, ...nodes) => parts.push(el("h3", {}, title), ...nodes);
  if (finding.trace.length) part("How it comes about", chainPicture(finding));
  const sources = [...placesOf(finding)].map(([path, marks]) => sourceOf(path, marks)).filter(Boolean);
  if (sources.length) part("Source", ...sources);
  if (finding.fix.length) part("Fix", fixOf(finding));
  if (rule.section) {
    const link = el("a", { href: DATA.guide, rel: "noreferrer" }, `Memory Allocation Guide, “${rule.section}”`);
    part("Why", el("p", {}, link, `: ${rule.summary}`), ...rule.says.slice(0, 3).map((says) => el("p", {}, says)));
  }
  if (rule.remedy && !finding.fix.length) part("How to fix", el("p", {}, ...marked(rule.remedy)));
  const commands = [`kgfplint explain ${finding.code}`, `kgfplint why ${finding.path}:${finding.line}`];
  if (finding.fix.length) commands.push(`kgfplint patch ${finding.fingerprint} ${finding.path}`);
  parts.push(el("div", { class: "commands" }, ...commands.map((command) => el("code", {}, command)),
    el("span", {}, "fingerprint ", el("code", {}, finding.fingerprint))));
  return el("div", { class: "body" }, ...parts);
}
