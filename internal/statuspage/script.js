"use strict";
// Updates a visible page in place, so that focus and scrolling stay. Without it, the page
// reloads itself.
(() => {
	const stale = document.getElementById("stale");
	const busy = () => {
		const selection = getSelection();
		return document.hidden || selection && !selection.isCollapsed || document.activeElement?.closest("form");
	};
	const key = (e) => e?.closest("main") && (e.id ? "#" + CSS.escape(e.id) : e.matches("a[href]") ? `a[href="${CSS.escape(e.getAttribute("href"))}"]` : null);
	const update = async () => {
		if (busy()) return;
		try {
			const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(9000) });
			if (!response.ok && response.status !== 404) throw new Error(response.status); // the job may have been removed
			const next = new DOMParser().parseFromString(await response.text(), "text/html");
			if (busy()) return;
			const focus = key(document.activeElement);
			const scrolled = [...document.querySelectorAll(".scroll")].map((e) => e.scrollLeft);
			for (const part of ["main", "#as-of"]) document.querySelector(part).replaceWith(next.querySelector(part));
			document.querySelectorAll(".scroll").forEach((e, i) => { e.scrollLeft = scrolled[i] ?? 0; });
			if (focus) document.querySelector(focus)?.focus({ preventScroll: true });
			document.title = next.title;
			stale.hidden = true;
		} catch {
			stale.hidden = false;
		}
	};
	setInterval(update, 10000);
	document.addEventListener("visibilitychange", update);
})();
