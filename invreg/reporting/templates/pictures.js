// Pictures that stand side by side are compared by a slider; of many rows of them, one is chosen. Without this script all
// of them stand in the page, the later ones folded.
(() => {
  "use strict";

  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  const picturesOf = (row) =>
    [...row.querySelectorAll("img")].map((image) => ({ image, title: image.dataset.title ?? image.alt }));

  // Two pictures of the same size on top of each other; the slider says how much is seen of the one in front.
  const slider = (first) => {
    const behind = element("img", { alt: "" });
    const front = element("img", { alt: "", className: "front" });
    const range = element("input", { type: "range", min: 0, max: 100, value: 50, step: "any" });
    range.setAttribute("aria-label", "Share of the left picture");
    const stage = element("div", { className: "stage" }, behind, front, element("span", { className: "edge" }), range);
    const move = () => stage.style.setProperty("--at", `${range.value}%`);
    range.addEventListener("input", move);
    move();
    const left = element("select");
    const right = element("select");
    const names = element("p", { className: "sides" },
      element("label", {}, "Left ", left), element("label", {}, "Right ", right));
    let shown = first;
    const draw = () => {
      const [a, b] = [left, right].map((select) => shown[Number(select.value)]);
      [front.src, behind.src] = [a.image.src, b.image.src];
      stage.setAttribute("aria-label", `${a.title} on the left, ${b.title} on the right`);
      stage.classList.toggle("magnified", a.image.classList.contains("magnified"));
      stage.style.setProperty("--wide", `${Math.max(a.image.width || 0, Number(a.image.getAttribute("width")))}px`);
      stage.dispatchEvent(new CustomEvent("compared", { bubbles: true, detail: [a.image, b.image] }));
    };
    [left, right].forEach((select) => select.addEventListener("change", draw));
    return {
      node: element("div", { className: "comparison" }, names, stage),
      show: (pictures) => {
        const kept = [left.value, right.value];
        shown = pictures;
        [left, right].forEach((select, side) => {
          select.replaceChildren(...pictures.map(({ title }, value) => element("option", { value, textContent: title })));
          select.value = kept[side] || String(side === 0 ? Math.min(1, pictures.length - 2) : best(pictures));
        });
        draw();
      },
    };
  };

  const best = (pictures) => {
    const found = pictures.findIndex(({ image }) => "best" in image.dataset);
    return found < 0 ? pictures.length - 1 : found;
  };

  // Only pictures of the size of the last one can lie on top of it.
  const alike = (pictures) => {
    const size = ({ image }) => `${image.naturalWidth}x${image.naturalHeight}`;
    return pictures.filter((one) => size(one) === size(pictures[pictures.length - 1]));
  };

  const compare = (row, place) => {
    const made = slider([]);
    const pictures = alike(picturesOf(row));
    if (pictures.length < 2) return null;
    place.before(made.node);
    made.show(pictures);
    return made;
  };

  const whenLoaded = (root, act) =>
    Promise.allSettled([...root.querySelectorAll("img")].map((image) => image.decode())).then(act);

  const choose = (viewer) => {
    const rows = [...viewer.querySelectorAll(".strip")];
    if (!rows.length) return;
    const first = rows[0];
    rows.slice(1).forEach((row) => viewer.append(row));
    viewer.querySelectorAll("details.others").forEach((folded) => folded.remove());
    const select = element("select", {}, ...rows.map((row, value) =>
      element("option", { value, textContent: row.dataset.name })));
    const step = (by) => {
      select.value = String((Number(select.value) + by + rows.length) % rows.length);
      show();
    };
    const button = (text, label, by) => {
      const made = element("button", { type: "button", textContent: text });
      made.setAttribute("aria-label", label);
      made.addEventListener("click", () => step(by));
      return made;
    };
    const controls = element("p", { className: "choice" }, button("‹", "Previous image", -1),
      element("label", {}, "Image ", select), button("›", "Next image", 1),
      element("span", { className: "aside", textContent: `of ${rows.length}` }));
    let comparison = null;
    const show = () => {
      const chosen = rows[Number(select.value)];
      rows.forEach((row) => { row.hidden = row !== chosen; });
      whenLoaded(chosen, () => {
        const pictures = alike(picturesOf(chosen));
        if (pictures.length < 2) return;
        comparison ??= compare(chosen, first);
        comparison?.show(pictures);
      });
    };
    select.addEventListener("change", show);
    if (rows.length > 1) first.before(controls);
    show();
  };

  document.querySelectorAll(".viewer").forEach(choose);
  document.querySelectorAll(".pair").forEach((pair) => whenLoaded(pair, () => compare(pair, pair)));
})();
