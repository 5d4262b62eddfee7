// Looks at a report as it is rendered and leaves what it found in the page, for the test to read.
"use strict";
addEventListener("load", () => {
  const wrongs = [];
  const check = (fine, what) => { if (!fine) wrongs.push(what); };
  const shown = (element) => element.outerHTML.slice(0, 120).replace(/\s+/g, " ");
  const all = (selector) => [...document.querySelectorAll(selector)];

  // Documents, landmarks, headings.
  check(document.documentElement.lang === "en", "the document has no language");
  check(document.title.trim() !== "", "the document has no title");
  check(all("main").length === 1 && all("header").length === 1, "landmarks are missing");
  check(all("nav").every((nav) => nav.getAttribute("aria-label")), "a navigation has no name");
  let level = 0;
  for (const heading of all("h1, h2, h3, h4, h5, h6")) {
    const next = Number(heading.tagName[1]);
    check(next <= level + 1, `a heading skips a level: ${shown(heading)}`);
    level = next;
  }
  const ids = all("[id]").map((element) => element.id);
  check(new Set(ids).size === ids.length, "ids are not unique");
  for (const element of all("[aria-labelledby]")) {
    const named = element.getAttribute("aria-labelledby").split(" ").map((id) => document.getElementById(id));
    check(named.every((one) => one && one.textContent.trim()), `named by nothing: ${shown(element)}`);
  }
  for (const link of all("a[href^='#']")) {
    check(document.getElementById(link.hash.slice(1)), `a link to nowhere: ${shown(link)}`);
  }
  for (const one of all("a, button")) check(one.textContent.trim(), `no text: ${shown(one)}`);
  check(all("[tabindex]").every((one) => one.tabIndex <= 0), "the order of focus is not that of the page");

  // Tables and pictures.
  for (const table of all("table")) {
    check(table.caption && table.caption.textContent.trim(), `no caption: ${shown(table)}`);
    const headers = [...table.querySelectorAll("th")];
    check(headers.length > 0 && headers.every((th) => th.scope), `headers without scope: ${shown(table)}`);
    const wide = table.rows[0].cells.length;
    check([...table.rows].every((row) => row.cells.length === wide), `rows of unequal length: ${shown(table)}`);
    check(table.closest("[role=region][tabindex='0']"), `cannot be scrolled by keyboard: ${shown(table)}`);
  }
  for (const svg of all("svg")) {
    check(svg.getAttribute("role") === "img", `not an image to a screen reader: ${shown(svg)}`);
    check(svg.querySelector(":scope > title")?.textContent.trim(), `no title: ${shown(svg)}`);
    check(svg.querySelector(":scope > desc")?.textContent.trim(), `no description: ${shown(svg)}`);
  }
  check(all("img, script[src], link, iframe").length === 0, "something would be fetched");

  // Contrast of every text that can be seen, as WCAG 2 defines it.
  const rgb = (text) => text.match(/[\d.]+/g).map(Number);
  const part = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) => 0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue);
  const background = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = rgb(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const style = getComputedStyle(element);
    if (!walker.currentNode.data.trim() || element.closest("script, title, desc") || style.visibility === "hidden") continue;
    const ink = rgb(element.closest("svg") ? style.fill : style.color);
    const [light, dark] = [luminance(ink), luminance(background(element))].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    check(contrast >= 4.5, `contrast ${contrast.toFixed(2)}: ${shown(element)}`);
    texts += 1;
  }

  // A click on a heading sorts, a second one turns the order round.
  const table = all("table").find((one) => one.tBodies[0].rows.length > 1);
  const column = (table) => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
  const orders = [];
  if (table) {
    const header = table.tHead.rows[0].cells[0];
    for (let click = 0; click < 2; click += 1) {
      header.querySelector("button").click();
      orders.push([header.getAttribute("aria-sort"), column(table)]);
    }
  }

  const box = (element) => {
    const { left, top, width, height } = element.getBoundingClientRect();
    return { id: element.parentElement.id, left, top: top + scrollY, width, height };
  };
  const found = document.createElement("script");
  found.type = "application/json";
  found.id = "audit";
  found.textContent = JSON.stringify({
    wrongs,
    texts,
    orders,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    height: document.documentElement.scrollHeight,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    charts: all("figure > svg").map(box),
  }).replaceAll("<", "\\u003c");
  document.body.append(found);
});
