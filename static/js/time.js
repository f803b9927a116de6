// Keeps “3 min ago” true, and writes absolute times in the reader's zone. The words come from the server.
import { attach } from "./behaviour.js";

const words = JSON.parse(document.body.dataset.agoWords || "{}");
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const absolute = new Intl.DateTimeFormat(document.documentElement.lang, {
  dateStyle: "medium",
  timeStyle: "long",
});

function refresh(element) {
  const then = new Date(element.dateTime);
  const distance = (Date.now() - then) / 1000;
  const size = Math.round(Math.abs(distance));
  if (size > 30 * 86400) return;
  let text = words.now;
  if (size >= 5) {
    const [scale, unit] = UNITS.find(([seconds]) => size >= seconds);
    text = words[distance > 0 ? unit : `in_${unit}`]?.replace("{n}", Math.floor(size / scale));
  }
  if (text && element.textContent !== text) element.textContent = text;
}

attach("time[data-ago]", (element) => {
  element.title = absolute.format(new Date(element.dateTime));
  refresh(element);
});

attach("time[data-moment]", (element) => {
  element.textContent = absolute.format(new Date(element.dateTime));
});

setInterval(() => {
  if (!document.hidden) document.querySelectorAll("time[data-ago]").forEach(refresh);
}, 5000);
