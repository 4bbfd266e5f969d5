// A figure is enlarged by a click; its links save the very image that is in the page. Without this script the links lead to
// the files in the run folder.
(() => {
  "use strict";
  const dialog = document.createElement("dialog");
  dialog.className = "large";
  const whole = document.createElement("img");
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  close.addEventListener("click", () => dialog.close());
  whole.addEventListener("click", () => dialog.classList.toggle("full"));
  dialog.append(close, whole);
  document.body.append(dialog);

  const open = (image) => {
    [whole.src, whole.alt] = [image.src, image.alt];
    dialog.classList.remove("full");
    dialog.classList.toggle("magnified", image.classList.contains("magnified"));
    dialog.showModal();
  };

  document.addEventListener("enlarge", ({ detail }) => open(detail)); // a slice of a volume
  document.querySelectorAll("figure img").forEach((image) => {
    image.tabIndex = 0;
    image.setAttribute("role", "button");
    image.title = "Enlarge";
    image.addEventListener("click", () => open(image));
    image.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        open(image);
      }
    });
  });

  const asPng = (image) => {
    const canvas = document.createElement("canvas");
    const scale = 3;
    [canvas.width, canvas.height] = [scale * image.naturalWidth, scale * image.naturalHeight];
    const context = canvas.getContext("2d");
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/png");
  };

  document.querySelectorAll("a.save").forEach((link) => {
    const image = link.closest("figure").querySelector("img");
    const isVector = image.src.startsWith("data:image/svg");
    if (link.dataset.kind === "svg" && isVector) link.href = image.src;
    if (link.dataset.kind !== "png") return;
    if (!isVector) link.href = image.src;
    else link.addEventListener("click", () => { link.href = asPng(image); });
  });
})();
