// The left navigation: collapse to icons (kept in a cookie the server reads) and off-canvas manners.
import { attach } from "./behaviour.js";

attach("[data-nav-collapse]", (button) => {
  button.addEventListener("click", () => {
    const isNarrow = document.documentElement.classList.toggle("nav-is-narrow");
    button.setAttribute("aria-pressed", String(isNarrow));
    document.cookie = `nav=${isNarrow ? "narrow" : "wide"}; path=/; max-age=31536000; samesite=lax`;
  });
});

attach("[data-nav]", (nav) => {
  const opener = document.querySelector("[data-nav-open]");
  const isOpen = () => nav.matches(":target");
  const close = () => {
    location.replace("#");
    history.replaceState(history.state, "", location.pathname + location.search);
    opener?.focus();
  };
  addEventListener("hashchange", () => {
    if (isOpen()) nav.querySelector("a, button")?.focus();
  });
  nav.querySelector("[data-nav-close]")?.addEventListener("click", (event) => {
    event.preventDefault();
    close();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && isOpen()) close();
  });
  document.addEventListener("click", (event) => {
    if (isOpen() && !nav.contains(event.target) && !opener?.contains(event.target)) close();
  });
  nav.addEventListener("focusout", (event) => {
    if (isOpen() && event.relatedTarget && !nav.contains(event.relatedTarget)) {
      nav.querySelector("a, button")?.focus();
    }
  });
});
