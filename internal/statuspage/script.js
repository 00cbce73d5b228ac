"use strict";
// What the pages do better with a script: they update in place, so that focus and scrolling stay (without it, they
// reload themselves), times are shown in the local time, too, IDs can be copied, and "/" leads to the search.
(() => {
	const offset = new Date().getTimezoneOffset();
	const local = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" }); // as ISO 8601
	const zone = new Intl.DateTimeFormat("en", { timeZoneName: "short" });
	const inLocal = (time, now) => {
		const at = new Date(time.dateTime), name = zone.formatToParts(at).find((p) => p.type === "timeZoneName").value;
		const [date, clock] = local.format(at).split(" ");
		return (local.format(now).startsWith(date) ? "" : date + " ") + clock + " " + name;
	};

	const copy = async (text) => {
		try {
			await navigator.clipboard.writeText(text);
		} catch { // over http, only this works
			const area = document.createElement("textarea");
			area.className = "unseen";
			area.value = text;
			document.body.append(area);
			area.select();
			document.execCommand("copy");
			area.remove();
		}
		document.getElementById("note").textContent = "Copied " + text;
	};

	// enhance adds to the page what needs a script.
	const enhance = () => {
		const now = new Date();
		for (const time of offset ? document.querySelectorAll("time[datetime]:not([data-local])") : []) {
			time.dataset.local = inLocal(time, now);
			if (time.title) time.title += " (" + time.dataset.local + ")";
		}
		for (const id of document.querySelectorAll("a.id, h1 .id")) {
			if (id.nextElementSibling?.matches(".copy")) continue;
			const button = document.createElement("button");
			button.type = "button";
			button.className = "copy";
			button.title = "Copy the request ID";
			button.ariaLabel = "Copy " + id.textContent;
			button.addEventListener("click", async () => {
				await copy(id.textContent);
				button.focus({ preventScroll: true });
				button.classList.add("done");
				setTimeout(() => button.classList.remove("done"), 2000);
			});
			id.after(button);
		}
	};

	document.addEventListener("keydown", (e) => {
		if (e.key !== "/" || e.ctrlKey || e.altKey || e.metaKey || e.target.matches("input, select, textarea")) return;
		e.preventDefault();
		const search = document.getElementById("search");
		search.focus(); // select alone does not focus in every browser
		search.select();
	});

	const stale = document.getElementById("stale");
	const busy = () => {
		const selection = getSelection();
		return selection && !selection.isCollapsed || document.activeElement?.closest("form");
	};
	const attribute = (e, name) => `[${name}="${CSS.escape(e.getAttribute(name))}"]`;
	// key returns a selector for what has the focus: the same link may be in several tables.
	const key = (e) => {
		if (!e?.closest("main")) return null;
		if (e.id) return "#" + CSS.escape(e.id);
		if (e.matches("summary")) return key(e.parentElement) + " > summary";
		if (e.matches("h1 .copy")) return "h1 .copy";
		if (e.matches(".copy")) return key(e.previousElementSibling) + " + .copy";
		if (e.matches(".scroll[aria-labelledby]")) return ".scroll" + attribute(e, "aria-labelledby");
		const region = e.closest("[aria-labelledby]");
		return e.matches("a[href]") ? (region ? attribute(region, "aria-labelledby") + " " : "") + "a" + attribute(e, "href") : null;
	};
	let updated = Date.now();
	// unwanted reports whether an update would disturb, or nobody sees more of it than the icon and the title.
	const unwanted = () => document.hidden ? Date.now() - updated < 60000 : busy();
	const update = async () => {
		if (unwanted()) return;
		try {
			const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(9000) });
			const next = new DOMParser().parseFromString(await response.text(), "text/html");
			const parts = ["main", "#as-of", "link[rel=icon]"].map((part) => [document, next].map((d) => d.querySelector(part)));
			// A page of an error is up to date, too, such as that of a removed job. That of a proxy lacks a part.
			if (parts.some(([, part]) => !part)) throw new Error(response.status);
			if (unwanted()) return;
			updated = Date.now();
			document.title = next.title;
			if (document.hidden) {
				const [old, icon] = parts[2];
				old.replaceWith(icon);
				return;
			}
			for (const option of next.querySelectorAll("header option")) { // which have numbers of jobs
				const select = "header select" + attribute(option.parentElement, "name");
				const old = document.querySelector(`${select} option${attribute(option, "value")}`);
				if (old) old.textContent = option.textContent;
			}
			const focus = key(document.activeElement);
			const scrolled = [...document.querySelectorAll(".scroll")].map((e) => e.scrollLeft);
			const opened = [...document.querySelectorAll("details[open]")].map((e) => e.id);
			for (const [old, part] of parts) old.replaceWith(part);
			enhance();
			for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
			document.querySelectorAll(".scroll").forEach((e, i) => { e.scrollLeft = scrolled[i] ?? 0; });
			if (focus) document.querySelector(focus)?.focus({ preventScroll: true });
			stale.hidden = true;
		} catch {
			stale.hidden = false;
		}
	};
	enhance();
	if (stale) {
		setInterval(update, 10000);
		document.addEventListener("visibilitychange", update);
	}
})();
