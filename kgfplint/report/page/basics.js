// What all parts of the page build with. Text only ever becomes text nodes and attributes.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const SEVERITIES = ["error", "warning", "note"];

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null));
  return node;
}

function el(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function plural(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

function folderOf(path) {
  return path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : ".";
}

/** Return a counter: of things by key, each with how many of each severity. */
function tally(findings, keyOf) {
  const counts = new Map();
  for (const finding of findings) {
    const key = keyOf(finding);
    if (!counts.has(key)) counts.set(key, { key, all: 0, error: 0, warning: 0, note: 0 });
    const count = counts.get(key);
    count.all += 1;
    count[finding.severity] += 1;
  }
  return counts;
}
