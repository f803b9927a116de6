// Shows the OpenAPI document with Swagger UI; nothing is asked of other hosts.
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");

function paint() {
  const theme = root.dataset.bsTheme;
  root.classList.toggle("dark-mode", theme ? theme === "dark" : dark.matches);
}

paint();
dark.addEventListener("change", paint);

const place = document.getElementById("api-docs");
window.SwaggerUIBundle({
  domNode: place,
  url: place.dataset.schema,
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  filter: true,
  // Swagger's own validator is on the internet.
  validatorUrl: null,
});
