"use strict";
// Every 2 s takes the page anew, part by part: one that has not changed stays as it is, what a reader has opened stays open, and the
// place that they read stays where it is.
(() => {
  const every = 2000;
  const lost = document.getElementById("lost");
  const shown = new Map(); // what a part was, as it came
  let heard = Date.now();
  const put = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const part of fresh.querySelectorAll("section[id]")) {
      const old = document.getElementById(part.id);
      if (!old || shown.get(part.id) === part.outerHTML) continue;
      shown.set(part.id, part.outerHTML);
      for (const d of part.querySelectorAll("details[id]")) {
        const was = document.getElementById(d.id);
        if (was) d.open = was.open;
      }
      const focus = document.activeElement && document.activeElement.closest("details[id]");
      const aside = [...old.querySelectorAll(".scroll")].map((s) => s.scrollLeft);
      old.replaceWith(document.adoptNode(part));
      part.querySelectorAll(".scroll").forEach((s, k) => { s.scrollLeft = aside[k] || 0; });
      if (focus && part.contains(document.getElementById(focus.id))) document.getElementById(focus.id).querySelector("summary").focus({ preventScroll: true });
    }
  };
  const ended = () => document.getElementById("progress").dataset.finished === "true";
  const look = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch("fragment", { cache: "no-store", signal: AbortSignal.timeout(10000) });
        const text = await answer.text();
        if (!answer.ok) throw new Error(text.trim());
        put(text);
        heard = Date.now();
        lost.hidden = true;
      } catch (e) {
        lost.textContent = `Nothing new for ${Math.round((Date.now() - heard) / 1000)} s: ${e.message}`;
        lost.hidden = false;
      }
    }
    if (!ended()) setTimeout(look, every);
  };
  if (!ended()) setTimeout(look, every);
})();
