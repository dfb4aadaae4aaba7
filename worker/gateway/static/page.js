// Shows times in the user's own format, and replaces the changing part of the page with HTML that the server renders.
// Without this script, reloading the page shows the same content.
"use strict";

(() => {
  const LOST_MS = 4000; // no notice if the connection is back within this time
  const HIDDEN_MS = 2000; // a short visit to another tab does not close the stream
  const SILENT_MS = 40000; // the server sends something every 15 s
  const OPEN_MS = 10000; // without an event by then, polling starts: some proxies buffer a stream until it ends
  const POLL_MS = 15000; // between two polls, also on pages without a stream
  const live = document.getElementById("live");
  const notice = document.getElementById("connection");
  const spoken = document.getElementById("spoken");
  let source = null;
  let lost = 0; // timer
  let again = 0; // timer
  let hidden = 0; // timer
  let silent = 0; // timer
  let poll = 0; // timer
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

  // Identifies a focused or filled-in element after the content is replaced.
  const name = (it) => [it.tagName, it.id, it.getAttribute("href"), it.name, it.tagName === "BUTTON" && it.value].join(" ");
  const find = (root, wanted) =>
    [...root.querySelectorAll("a, button, input, summary")].find((it) => name(it) === wanted);

  const show = (html) => {
    const next = new DOMParser().parseFromString(html, "text/html").body;
    local(next);
    const focused = live.contains(document.activeElement) ? name(document.activeElement) : null;
    for (const details of next.querySelectorAll("details")) details.open = live.querySelector("details")?.open ?? false;
    // Keep text that the user is typing.
    for (const field of next.querySelectorAll("input[id]")) field.replaceWith(find(live, name(field)) ?? field);
    live.replaceChildren(...next.childNodes);
    if (focused) find(live, focused)?.focus({ preventScroll: true });
    copyable();
    const [title, state, sentence] = ["h1", "#state", "#state + .sentence"].map((it) => live.querySelector(it)?.textContent);
    if (!state) return;
    document.title = `${state} · ${title}`;
    // The live region for screen readers is never replaced. Its text changes only when the wording does.
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

  const missed = () => {
    lost ||= setTimeout(say, LOST_MS, `${live.dataset.lost} ${new Date().toLocaleTimeString()}.`);
  };

  const end = (text) => {
    delete live.dataset.events;
    delete live.dataset.poll;
    stop();
    clearTimeout(lost);
    say(text);
  };

  // Fetch the whole page: its status also shows why there is no stream.
  const lookAgain = async () => {
    clearTimeout(poll);
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store", redirect: "error" });
      if (answer.status === 401) return end(live.dataset.expired);
      if (answer.status === 429) return say(live.dataset.busy);
      if (!answer.ok) return missed();
      const next = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
      if (!next) return missed();
      if (live.dataset.events !== undefined && next.dataset.events === undefined) { delete live.dataset.events; stop(); } // the request is final
      found();
      if (!typing()) show(next.innerHTML);
    } catch {
      missed();
    }
  };

  const keepPolling = () => {
    clearTimeout(poll);
    if (document.hidden || (live.dataset.poll === undefined && live.dataset.events === undefined)) return;
    poll = setTimeout(async () => {
      await lookAgain();
      keepPolling();
    }, POLL_MS);
  };

  const heard = () => {
    clearTimeout(silent);
    clearTimeout(poll);
    silent = setTimeout(() => { // the connection seems open, but it is dead
      stop();
      missed();
      start();
    }, SILENT_MS);
  };

  const start = () => {
    clearTimeout(again);
    if (live.dataset.poll !== undefined) return keepPolling();
    if (source || live.dataset.events === undefined) return;
    source = new EventSource(live.dataset.events);
    silent = setTimeout(keepPolling, OPEN_MS);
    source.addEventListener("open", found); // a proxy may forward the head and buffer the body: only an event stops polling
    source.addEventListener("page", (event) => { heard(); show(event.data); });
    source.addEventListener("alive", heard);
    source.addEventListener("over", () => {
      delete live.dataset.events;
      stop();
    });
    source.addEventListener("expired", () => end(live.dataset.expired));
    source.addEventListener("error", () => {
      missed();
      if (source?.readyState !== EventSource.CLOSED) return; // the browser reconnects by itself
      stop();
      lookAgain();
      again = setTimeout(start, wait);
      wait = Math.min(2 * wait, 60000);
    });
  };

  const stop = () => {
    clearTimeout(again);
    clearTimeout(silent);
    clearTimeout(poll);
    source?.close();
    source = null;
  };

  const typing = () => live.contains(document.activeElement) && document.activeElement.tagName === "INPUT";

  const copyable = () => {
    for (const button of live.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
  };

  live.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) navigator.clipboard.writeText(button.parentElement.querySelector("a").href);
  });

  const look = () => {
    clearTimeout(hidden);
    if (document.hidden) hidden = setTimeout(stop, HIDDEN_MS);
    else start();
  };

  // A browser has six connections to a host, so a hidden tab closes its stream.
  document.addEventListener("visibilitychange", look);
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", look);
  local(document);
  copyable();
  look();
})();
