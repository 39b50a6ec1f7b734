"use strict";
// Shows, of the chart under the pointer, what all curves are at the nearest eps. Without it each point still has its title.
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const node = (kind, text) => {
    const n = document.createElement(kind);
    n.textContent = text;
    return n;
  };
  for (const svg of document.querySelectorAll("svg.chart[data-xs]")) {
    const xs = svg.dataset.xs.split(" ").map(Number);
    const heads = svg.dataset.heads.split("|");
    const cross = svg.querySelector(".cross");
    let at = 0;
    for (const t of svg.querySelectorAll("title")) t.remove(); // two hovers would be one too many
    const hide = () => {
      tip.hidden = true;
      cross.style.visibility = "hidden";
    };
    const show = (k) => {
      at = k;
      cross.setAttribute("transform", `translate(${xs[k]})`);
      cross.style.visibility = "visible";
      tip.replaceChildren(node("b", heads[k]));
      for (const g of svg.querySelectorAll("g[data-tips]")) {
        const row = document.createElement("div");
        const dot = document.createElement("i");
        dot.style.color = getComputedStyle(g).color;
        row.append(dot, node("span", g.dataset.label), node("span", g.dataset.tips.split("|")[k]));
        tip.append(row);
      }
      tip.hidden = false;
      const box = svg.getBoundingClientRect();
      const x = box.left + xs[k] / svg.viewBox.baseVal.width * box.width;
      const left = x + 14 + tip.offsetWidth < document.documentElement.clientWidth ? x + 14 : Math.max(6, x - 14 - tip.offsetWidth);
      tip.style.left = `${left + scrollX}px`;
      tip.style.top = `${box.top + scrollY + Math.min(24, box.height / 4)}px`;
    };
    svg.addEventListener("pointermove", (e) => {
      const box = svg.getBoundingClientRect();
      const x = (e.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      let best = 0;
      xs.forEach((v, k) => { if (Math.abs(v - x) < Math.abs(xs[best] - x)) best = k; });
      show(best);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (e) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
      if (e.key === "Escape") hide();
      if (by === undefined) return;
      e.preventDefault();
      show(Math.min(xs.length - 1, Math.max(0, at + by)));
    });
  }
})();
