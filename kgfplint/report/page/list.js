// The list of findings: drawn piece by piece as it is scrolled, each opened on demand, so that thousands are no burden.

const PIECE = 150;
const GROUPS = {
  path: (finding) => finding.path,
  folder: (finding) => folderOf(finding.path),
  code: (finding) => finding.code,
  severity: (finding) => finding.severity,
  function: (finding) => `${finding.path}: ${finding.function ? `${finding.function}()` : "outside functions"}`,
};

let pending = [];
let watcher = null;

function groupTitle(kind, key) {
  return kind === "code" ? `${key} ${DATA.rules[key].name}` : key;
}

function entry(finding, opened) {
  const inside = finding.function ? el("b", {}, ` ${finding.function}()`) : "";
  const node = el("details", { class: `finding ${finding.severity}`, id: `f-${finding.fingerprint}` },
    el("summary", {}, el("span", { class: "label" }, finding.severity), el("span", {}, finding.message),
      el("span", { class: "rule" }, `${finding.code} ${DATA.rules[finding.code].name}`),
      el("span", { class: "place" }, `${finding.path}:${finding.line}`, inside)));
  node.addEventListener("toggle", () => {
    if (node.open && !node.querySelector(".body")) node.append(detail(finding));
    opened(finding, node.open);
  });
  return node;
}

/** Show findings in groups; `opened` is told which of them is opened or closed. */
function showList(findings, kind, opened) {
  const keyOf = GROUPS[kind], counts = tally(findings, keyOf), list = document.getElementById("list");
  const rank = (finding) => (kind === "severity" ? SEVERITIES.indexOf(finding.severity) : keyOf(finding));
  const compare = (a, b) => { const [x, y] = [rank(a), rank(b)]; return x < y ? -1 : x > y ? 1 : a.place - b.place; };
  pending = [...findings].sort(compare);
  list.replaceChildren();
  if (watcher) watcher.disconnect();
  if (!findings.length) {
    list.append(el("p", { class: "empty" }, DATA.findings.length ? "Nothing matches." : "Nothing found."));
    return;
  }
  const end = el("div", { id: "end" });
  list.append(end);
  let last = null;
  const more = () => {
    const piece = pending.splice(0, PIECE).flatMap((finding) => {
      const key = keyOf(finding), nodes = [entry(finding, opened)];
      if (key !== last) nodes.unshift(el("div", { class: "group" }, el("b", {}, groupTitle(kind, key)), String(counts.get(key).all)));
      last = key;
      return nodes;
    });
    end.before(...piece);
  };
  more();
  watcher = new IntersectionObserver((seen) => {
    if (!pending.length || !seen.some((one) => one.isIntersecting)) return;
    more();
    watcher.unobserve(end); // observed anew, it tells again if the end is still near
    watcher.observe(end);
  }, { rootMargin: "900px" });
  watcher.observe(end);
  showList.until = (fingerprint) => {
    while (pending.length && !document.getElementById(`f-${fingerprint}`)) more();
    return document.getElementById(`f-${fingerprint}`);
  };
}
