// Fetch this page again every second and replace the parts that have changed, except a form that is in use.
"use strict";
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

async function look() {
  try {
    const reply = await fetch(location.href, { cache: "no-store", headers: { accept: "text/html" } });
    return reply.ok ? new DOMParser().parseFromString(await reply.text(), "text/html") : null;
  } catch {
    return null; // the service cannot be reached now; it may come back
  }
}

async function follow() {
  for (;;) {
    await wait(document.hidden ? 5000 : 1000);
    const page = await look();
    if (!page) continue;
    for (const part of document.querySelectorAll("main > [id]")) {
      const box = part.querySelector("textarea");
      if (box && (box.value || box === document.activeElement)) continue;
      const fresh = page.getElementById(part.id);
      if (fresh && fresh.innerHTML !== part.innerHTML) part.replaceChildren(...fresh.childNodes);
    }
    if (!page.querySelector("script")) return; // the job has ended
  }
}

follow();
