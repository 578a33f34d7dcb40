// Makes pages live. Every page works without this file.
"use strict";
(() => {
  const token = document.body.dataset.token || "";
  const part = (html) => new DOMParser().parseFromString(html, "text/html");

  // Parts that refresh: an element with an id and data-live, the seconds between two refreshes. It
  // waits while somebody works in it: a box is ticked, a row or table is opened, or the keyboard is there.
  const busy = (el) => el !== document.activeElement && el.contains(document.activeElement) || el.querySelector("input:checked, [aria-expanded=true], details[open]");
  let tag = ""; // of the page that is shown: the same one is answered 304
  const refresh = async () => {
    const parts = [...document.querySelectorAll("[data-live]")];
    if (document.hidden || !parts.some((el) => !busy(el))) return;
    const answer = await fetch(location.href, { headers: { Accept: "text/html", "X-Fragment": "live", ...(tag && { "If-None-Match": tag }) } });
    if (!answer.ok || answer.redirected) return;
    const page = part(await answer.text());
    tag = parts.some(busy) ? "" : answer.headers.get("ETag") || "";
    for (const el of parts) {
      const now = page.getElementById(el.id);
      if (now && !busy(el) && now.innerHTML !== el.innerHTML) el.replaceChildren(...now.childNodes);
    }
  };
  const seconds = [...document.querySelectorAll("[data-live]")].map((el) => Number(el.dataset.live));
  if (seconds.length) {
    const every = Math.min(...seconds) * 1000;
    const again = () => setTimeout(() => refresh().catch(() => {}).finally(again), every * (0.9 + Math.random() * 0.2));
    again();
  }

  // Rows that open in place.
  document.addEventListener("click", async (e) => {
    const button = e.target.closest("button[data-row]");
    if (!button) return;
    e.preventDefault();
    const row = button.closest("tr");
    if (button.getAttribute("aria-expanded") === "true") {
      if (row.nextElementSibling?.classList.contains("opened")) row.nextElementSibling.remove();
      button.setAttribute("aria-expanded", "false");
      return;
    }
    button.setAttribute("aria-expanded", "true");
    const answer = await fetch(button.dataset.row).catch(() => null);
    if (!answer?.ok) {
      location.search = "?" + new URLSearchParams({ triggers: button.value });
      return;
    }
    const cell = part(`<table><tbody><tr class="opened">${await answer.text()}</tr></tbody></table>`).querySelector("tr");
    row.after(cell);
  });

  // Tick boxes: how many are ticked, and which buttons fit.
  for (const form of document.querySelectorAll("form[data-ticks]")) {
    const say = form.querySelector("[data-ticked]");
    const update = () => {
      const n = form.querySelectorAll("input[type=checkbox]:checked").length;
      say.textContent = n ? `${n} ticked` : "";
      for (const b of form.querySelectorAll("[data-most]")) b.disabled = n > Number(b.dataset.most);
    };
    form.addEventListener("change", update);
    update();
  }

  // Menus close by Escape, and by a click elsewhere.
  document.addEventListener("keydown", (e) => {
    const menu = e.key === "Escape" && document.querySelector("details.menu[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  document.addEventListener("click", (e) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(e.target)) menu.open = false;
  });

  // The webhook's form: previews while one types, tests without leaving the page.
  const draft = document.querySelector("form[data-draft]");
  if (draft) {
    const aside = document.getElementById("aside");
    let turn = 0;
    const ask = async (what) => {
      const mine = ++turn;
      const body = new URLSearchParams(new FormData(draft));
      body.set("do", what);
      const answer = await fetch(location.href, { method: "POST", body, headers: { "X-Fragment": "aside", "X-Form-Token": token } });
      if (!answer.ok || mine !== turn) return;
      const focused = document.activeElement?.id || document.activeElement?.value;
      const held = aside.contains(document.activeElement);
      aside.innerHTML = await answer.text();
      if (held) (document.getElementById(focused) || aside.querySelector(`button[value="${focused}"]`))?.focus();
    };
    let timer;
    const later = (wait) => {
      clearTimeout(timer);
      timer = setTimeout(() => ask("preview").catch(() => {}), wait);
    };
    draft.addEventListener("input", () => later(500));
    draft.addEventListener("click", (e) => {
      const button = e.target.closest("button[data-fragment]");
      if (!button) return;
      e.preventDefault();
      clearTimeout(timer);
      button.disabled = true;
      if (button.value === "test") button.textContent = "Sending…";
      ask(button.value).catch(() => draft.requestSubmit(button)).finally(() => { button.disabled = false; });
    });
    // Other buttons than Save are none of the form's own, so that Enter in a field saves.
    const submitAs = (what) => {
      const use = document.createElement("input");
      use.type = "hidden"; use.name = "do"; use.value = what;
      draft.append(use);
      draft.submit();
    };
    for (const button of draft.querySelectorAll("button[data-besides]")) {
      button.type = "button";
      button.addEventListener("click", () => submitAs(button.value));
    }
    // A preset is used as soon as it is chosen.
    draft.querySelector("[data-apply]").addEventListener("change", () => submitAs("preset"));
    // The certificate is verified by itself where there is one. The field verify_for tells the
    // server that the box was set for the address as it is now.
    const url = draft.querySelector("[name=url]"), verify = draft.querySelector("[name=verify]"), setFor = draft.querySelector("[name=verify_for]");
    const scheme = () => (/^(https?):/i.exec(url.value) || ["", ""])[1].toLowerCase();
    let chosen = false;
    verify.addEventListener("change", () => { chosen = true; setFor.value = scheme(); });
    url.addEventListener("input", () => {
      if (!chosen) verify.checked = scheme() !== "http";
      if (!chosen || scheme() === "http") setFor.value = scheme();
    });
    later(0);
  }
})();
