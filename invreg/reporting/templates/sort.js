// Tables of the class "sortable", or inside an element of it, are sorted by a click on a heading: numbers as numbers,
// missing values last. Without this script they stand in the order in which they were written.
(() => {
  "use strict";
  const missing = new Set(["", "–", "-", "nan"]);

  // A cell's value: the exact one where the cell carries it, else the number that its text begins with, else the text.
  const valueOf = (cell) => {
    const text = (cell?.dataset.value ?? cell?.textContent ?? "").trim();
    if (missing.has(text.toLowerCase())) return null;
    const plain = text.replaceAll("−", "-").replaceAll(",", "").replace("∞", "Infinity");
    const found = plain.match(/^[<>≤≥~]?\s*([-+]?(?:Infinity|\d+\.?\d*(?:e[-+]?\d+)?|\.\d+))(?:\s*(?:%|dB|±.*)?)$/i);
    return found ? Number(found[1]) : text;
  };

  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === typeof b) return a.localeCompare(b, undefined, { numeric: true });
    return typeof a === "number" ? -1 : 1;
  };

  const sort = (table, column, heading) => {
    const rising = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    for (const body of table.tBodies) {
      const rows = [...body.rows].map((row) => ({ row, value: valueOf(row.cells[column]) }));
      rows.sort((a, b) => {
        if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
        return rising ? compare(a.value, b.value) : compare(b.value, a.value);
      });
      body.append(...rows.map(({ row }) => row));
    }
  };

  const prepare = (table) => {
    const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
    const headings = table.tHead?.rows[0]?.cells ?? [];
    // Cells that span several columns or rows have no place of their own in an order.
    const spans = [...table.querySelectorAll("th, td")].some((cell) => cell.colSpan > 1 || cell.rowSpan > 1);
    if (rows.length < 2 || spans || table.tHead.rows.length !== 1) return;
    [...headings].forEach((heading, column) => {
      if (!heading.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.title = "Sort by this column";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(table, column, heading));
    });
  };

  document.querySelectorAll("table.sortable, .sortable table").forEach(prepare);
})();
