// One moves through the slices of volumes, in all pictures of a row at once. They lie in sheets, slice by slice, in cells
// whose sides are multiples of 8 pixels. Without this script, and on paper, the three middle slices stand there.
(() => {
  "use strict";

  const axes = ["depth", "height", "width"];
  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  // Width and height of the slices along each axis: [H, W], [D, W] and [H, D] as arrays.
  const sizes = ([depth, height, width]) => ({ depth: [width, height], height: [width, depth], width: [depth, height] });

  // A slice from the sheet of its axis; without one, row by row or column by column from all slices of the depth.
  const draw = (canvas, sheets, shape, axis, index) => {
    const [wide, high] = sizes(shape)[axis];
    [canvas.width, canvas.height] = [wide, high];
    const context = canvas.getContext("2d");
    const source = axis in sheets ? axis : "depth";
    const sheet = sheets[source];
    const [cellWide, cellHigh] = sizes(shape)[source].map((side) => 8 * Math.ceil(side / 8));
    const across = sheet.naturalWidth / cellWide;
    const copy = (cell, x, y, w, h, ...to) => context.drawImage(sheet,
      cellWide * (cell % across) + x, cellHigh * Math.floor(cell / across) + y, w, h, ...to, w, h);
    if (axis === source) copy(index, 0, 0, wide, high, 0, 0);
    else if (axis === "height") for (let d = 0; d < shape[0]; d += 1) copy(d, 0, index, wide, 1, 0, d);
    else for (let d = 0; d < shape[0]; d += 1) copy(d, index, 0, 1, high, d, 0);
  };

  const decoded = async (src) => {
    const image = element("img", { src });
    await image.decode();
    return image;
  };

  const canvasFor = (image) => {
    const canvas = element("canvas", { className: "slice", tabIndex: 0, title: "Enlarge" });
    canvas.setAttribute("role", "img");
    canvas.addEventListener("click", () => canvas.dispatchEvent(new CustomEvent("enlarge", {
      bubbles: true,
      detail: { src: canvas.toDataURL(), alt: canvas.getAttribute("aria-label"), classList: image.classList },
    })));
    canvas.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      canvas.click();
    });
    image.after(canvas);
    image.closest("figure").classList.add("sliced");
    return canvas;
  };

  const moveThrough = (viewer) => {
    const rows = [...viewer.querySelectorAll(".strip")];
    if (!rows.some((row) => row.dataset.shape)) return;
    const volumes = new Map(); // a picture of three slices to its sheets, and the canvas that shows one
    const at = {};
    let compared = null;

    const select = element("select", {}, ...axes.map((axis) => element("option", { value: axis, textContent: axis })));
    const range = element("input", { type: "range", min: 0, step: 1 });
    const place = element("span", { className: "place" });
    const note = element("span", { className: "aside" });
    const button = (text, label, by) => {
      const made = element("button", { type: "button", textContent: text });
      made.setAttribute("aria-label", label);
      made.addEventListener("click", () => {
        range.value = Number(range.value) + by;
        range.dispatchEvent(new Event("input"));
      });
      return made;
    };
    const parts = [element("label", {}, "Slice along the ", select), place, element("span", { className: "move" },
      button("−", "Previous slice", -1), range, button("+", "Next slice", 1))];
    const controls = element("p", { className: "slices" }, ...parts, note);

    const load = async (row) => {
      const images = [...row.querySelectorAll("img")].filter((image) => image.dataset.depth && !volumes.has(image));
      const sheets = await Promise.all(images.map(async (image) => {
        const there = axes.filter((axis) => image.dataset[axis]);
        const found = await Promise.all(there.map((axis) => decoded(image.dataset[axis])));
        return Object.fromEntries(there.map((axis, number) => [axis, found[number]]));
      }));
      images.forEach((image, number) => {
        if (!volumes.has(image)) volumes.set(image, { sheets: sheets[number], canvas: canvasFor(image) });
      });
    };

    const shownRow = () => rows.find((row) => !row.hidden);
    const shapeOf = (row) => row.dataset.shape.split(" ").map(Number);
    // The positions of the slices that are in the page.
    const keptOf = (row, axis) =>
      (row.dataset[axis] ? row.dataset[axis].split(" ").map(Number) : [...Array(shapeOf(row)[axes.indexOf(axis)]).keys()]);

    const drawOn = (canvas, image, row, axis, index) => {
      const shape = shapeOf(row);
      draw(canvas, volumes.get(image).sheets, shape, axis, index);
      canvas.classList.toggle("magnified", image.classList.contains("magnified"));
      // Voxels are equally large along all axes.
      canvas.parentElement.style.setProperty("--share", canvas.width / Math.max(...shape));
      canvas.parentElement.style.setProperty("--longest", `${Math.max(...shape)}px`);
    };

    const drawCompared = (row, axis, index) => {
      const { stage, images } = compared ?? {};
      const isSliced = images?.every((image) => volumes.has(image) && row.contains(image));
      stage?.classList.toggle("sliced", Boolean(isSliced));
      if (!isSliced) return;
      if (!stage.querySelector("canvas"))
        stage.prepend(element("canvas", { className: "slice" }), element("canvas", { className: "slice front" }));
      const [behind, front] = stage.querySelectorAll("canvas");
      [front, behind].forEach((canvas, side) => drawOn(canvas, images[side], row, axis, index));
    };

    const show = async () => {
      const row = shownRow();
      try {
        await load(row);
      } catch { // too large for this browser
        delete row.dataset.shape;
      }
      if (row !== shownRow()) return;
      parts.forEach((part) => { part.hidden = !row.dataset.shape; });
      note.textContent = row.dataset.shape ? "" : "Of this volume, the page has its three middle slices.";
      if (!row.dataset.shape) {
        drawCompared(row);
        return;
      }
      const axis = select.value;
      const length = shapeOf(row)[axes.indexOf(axis)];
      const kept = keptOf(row, axis);
      at[axis] ??= Math.floor(length / 2);
      const index = kept.reduce((best, one, number) =>
        (Math.abs(one - at[axis]) < Math.abs(kept[best] - at[axis]) ? number : best), 0);
      const words = `${kept[index] + 1} of ${length}`;
      [range.max, range.value, place.textContent] = [kept.length - 1, index, words];
      range.setAttribute("aria-label", `Slice along the ${axis}`);
      range.setAttribute("aria-valuetext", words);
      if (kept.length < length) note.textContent = `${kept.length} of the ${length} slices are in the page, evenly spaced.`;
      row.querySelectorAll("img").forEach((image) => {
        if (!volumes.has(image)) return;
        const { canvas } = volumes.get(image);
        drawOn(canvas, image, row, axis, index);
        canvas.setAttribute("aria-label", `${image.dataset.title}, slice ${words} along the ${axis}`);
      });
      drawCompared(row, axis, index);
    };

    range.addEventListener("input", () => {
      at[select.value] = keptOf(shownRow(), select.value)[Number(range.value)];
      show();
    });
    // The choice of an axis; that of a volume, by its list or by its buttons.
    ["change", "click"].forEach((kind) => viewer.addEventListener(kind, show));
    viewer.addEventListener("compared", ({ target, detail }) => {
      compared = { stage: target, images: detail };
      target.closest(".comparison").before(controls);
      show();
    });
    rows[0].before(controls);
    show();
  };

  document.querySelectorAll(".viewer").forEach(moveThrough);
})();
