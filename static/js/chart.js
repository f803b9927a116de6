// Draws the Plotly figure that Python built: JSON in <script type="application/json">, colours as CSS variables
// ("var(--deployment-1)") that are looked up again when the theme changes. Loads Plotly when a chart comes near.
import { attach, meta, whenRemoved } from "./behaviour.js";

const CONFIG = { displayModeBar: false, responsive: true };
let library = null;

attach("[data-chart]", (chart) => {
  const plot = chart.querySelector("[data-chart-plot]");
  const source = chart.querySelector('script[type="application/json"]');
  const table = chart.querySelector("[data-chart-table]");
  let isDrawn = false;

  const draw = async () => {
    const Plotly = await load();
    if (!plot.isConnected) return;
    const { data, layout } = resolve(JSON.parse(source.textContent), plot);
    await Plotly.react(plot, data, themed(layout, plot), CONFIG);
    isDrawn = true;
  };
  const redraw = () => isDrawn && draw();

  const nearby = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && !isDrawn) draw();
  }, { rootMargin: "200px" });
  nearby.observe(plot);
  document.addEventListener("theme:changed", redraw);
  whenRemoved(chart, () => {
    nearby.disconnect();
    document.removeEventListener("theme:changed", redraw);
    if (isDrawn) load().then((Plotly) => Plotly.purge(plot));
  });

  chart.querySelector("[data-chart-switch]")?.addEventListener("click", (event) => {
    const isTable = table.hidden;
    table.hidden = !isTable;
    plot.hidden = isTable;
    event.currentTarget.setAttribute("aria-pressed", String(isTable));
    if (!isTable) redraw();
  });
  chart.querySelector("[data-chart-csv]")?.addEventListener("click", () => {
    const rows = [...table.querySelectorAll("tr")].map((row) =>
      [...row.cells].map((cell) => `"${cell.textContent.trim().replaceAll('"', '""')}"`).join(","),
    );
    save(`${chart.dataset.chart || "chart"}.csv`, rows.join("\n"), "text/csv");
  });
});

function load() {
  library ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = meta("vendor-plotly");
    script.onload = () => done(globalThis.Plotly);
    script.onerror = failed;
    document.head.append(script);
  });
  return library;
}

function themed(layout, element) {
  const color = (name) => resolve(`var(--${name})`, element);
  const axis = { gridcolor: color("line"), linecolor: color("line"), zerolinecolor: color("line-strong"), automargin: true };
  const font = { family: getComputedStyle(element).fontFamily, size: 12, color: color("text-soft") };
  return {
    autosize: true,
    hovermode: "x unified",
    showlegend: true,
    ...layout,
    margin: { l: 44, r: 12, t: 8, b: 36, ...layout.margin },
    font: { ...font, ...layout.font },
    legend: { orientation: "h", y: -0.18, ...layout.legend },
    hoverlabel: { bgcolor: color("raised"), bordercolor: color("line"), font: { ...font, color: color("text") } },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    xaxis: { ...axis, ...layout.xaxis },
    yaxis: { ...axis, rangemode: "tozero", ...layout.yaxis },
  };
}

/** The same value with each "var(--name)" replaced by the colour it has here and now. */
function resolve(value, element) {
  if (typeof value === "string") return value.startsWith("var(--") ? colorOf(value, element) : value;
  if (Array.isArray(value)) return value.map((item) => resolve(item, element));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(item, element)]));
  }
  return value;
}

function colorOf(variable, element) {
  // A custom property keeps its `light-dark()` text; only a real property is computed.
  const probe = document.createElement("span");
  probe.style.color = variable;
  element.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

function save(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
