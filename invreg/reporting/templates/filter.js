// The rows of the leaderboard are filtered by problem, by method, and by whether a bound is proven. Without this script all
// of them are shown, and the form is not.
(() => {
  "use strict";
  const form = document.getElementById("filters");
  const rows = [...document.getElementById("board").tBodies[0].rows];
  const figures = [...document.querySelectorAll("[data-figure]")];
  const shown = document.getElementById("shown");

  const filter = () => {
    const { problem, method, proven } = form.elements;
    const part = method.value.trim().toLowerCase();
    for (const row of rows) {
      const { problem: own, method: label, proven: bound } = row.dataset;
      row.hidden = (problem.value !== "" && own !== problem.value)
        || !label.toLowerCase().includes(part)
        || (proven.checked && bound === undefined);
    }
    for (const figure of figures) figure.hidden = problem.value !== "" && figure.dataset.figure !== problem.value;
    shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };

  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
})();
