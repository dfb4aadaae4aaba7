// Shows times as the reader writes them, and swaps the part of the page that changes for what the server rendered.
// Without this file a reload shows the same.
"use strict";

(() => {
  const LOST_MS = 4000; // a connection that is back by then was never missed
  const HIDDEN_MS = 2000; // who only looks into another tab comes back to an open stream
  const live = document.getElementById("live");
  const notice = document.getElementById("connection");
  const spoken = document.getElementById("spoken");
  let source = null;
  let lost = 0; // timer
  let again = 0; // timer
  let hidden = 0; // timer
  let wait = 5000;

  const local = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(time.dateTime);
      time.title = time.textContent;
      time.textContent = "short" in time.dataset
        ? moment.toLocaleTimeString([], { timeStyle: "medium" })
        : moment.toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
    }
  };

  // What is focused, or open, is found again by this.
  const name = (it) => [it.tagName, it.id, it.getAttribute("href"), it.name, it.tagName === "BUTTON" && it.value].join(" ");
  const find = (root, wanted) =>
    [...root.querySelectorAll("a, button, input, summary")].find((it) => name(it) === wanted);

  const show = (html) => {
    const next = new DOMParser().parseFromString(html, "text/html").body;
    local(next);
    const focused = live.contains(document.activeElement) ? name(document.activeElement) : null;
    for (const details of next.querySelectorAll("details")) details.open = live.querySelector("details")?.open ?? false;
    // What somebody is typing stays.
    for (const field of next.querySelectorAll("input[id]")) field.replaceWith(find(live, name(field)) ?? field);
    live.replaceChildren(...next.childNodes);
    if (focused) find(live, focused)?.focus({ preventScroll: true });
    const [title, state, sentence] = ["h1", "#state", "#state + .sentence"].map((it) => live.querySelector(it)?.textContent);
    if (!state) return;
    document.title = `${state} · ${title}`;
    // The region that is read aloud is never swapped, and changes only when its words do.
    const words = `${state}. ${sentence}`;
    if (spoken.textContent !== words) spoken.textContent = words;
  };

  const say = (text) => {
    notice.hidden = !text;
    notice.textContent = text;
  };

  const found = () => {
    clearTimeout(lost);
    lost = 0;
    wait = 5000;
    say("");
  };

  const start = () => {
    clearTimeout(again);
    if (source || live.dataset.events === undefined) return;
    source = new EventSource(live.dataset.events);
    source.addEventListener("open", found);
    source.addEventListener("page", (event) => show(event.data));
    source.addEventListener("over", () => {
      delete live.dataset.events;
      stop();
    });
    source.addEventListener("error", () => {
      const text = `${live.dataset.lost} ${new Date().toLocaleTimeString()}.`;
      lost ||= setTimeout(say, LOST_MS, text);
      if (source?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      stop();
      again = setTimeout(start, wait);
      wait = Math.min(2 * wait, 60000);
    });
  };

  const stop = () => {
    clearTimeout(again);
    source?.close();
    source = null;
  };

  const look = () => {
    clearTimeout(hidden);
    if (document.hidden) hidden = setTimeout(stop, HIDDEN_MS);
    else start();
  };

  // A browser has six connections to a host: a tab that nobody sees gives its own back.
  document.addEventListener("visibilitychange", look);
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", look);
  local(document);
  look();
})();
