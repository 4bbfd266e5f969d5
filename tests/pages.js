// What is wrong with the page as it is shown: boxes that are wider than the page, text that can hardly be read, images that
// are broken. Evaluated in the page by pages.py.
(isPrinted) => {
  const faults = [];
  const width = document.documentElement.clientWidth;
  const name = (element) => {
    const text = (element.textContent ?? "").trim().replace(/\s+/g, " ").slice(0, 40);
    const kind = typeof element.className === "string" && element.className ? `.${element.className.split(" ")[0]}` : "";
    return `${element.tagName.toLowerCase()}${kind} "${text}"`;
  };
  const isShown = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });

  // -- boxes
  const clips = new Map();
  const scrolls = (element) => {
    if (!clips.has(element)) clips.set(element, getComputedStyle(element).overflowX);
    return clips.get(element);
  };
  // Whether the part of an element beyond the page can be scrolled to, or is meant not to be seen.
  const isReached = (element) => {
    for (let parent = element.parentElement; parent && parent !== document.body; parent = parent.parentElement) {
      const inside = parent.getBoundingClientRect();
      if (scrolls(parent) !== "visible" && inside.right <= width + 1) return true;
    }
    return false;
  };
  if (document.documentElement.scrollWidth > width + 1)
    faults.push(`the page is ${document.documentElement.scrollWidth} pixels wide, of ${width}`);
  for (const element of document.body.querySelectorAll("*")) {
    if (element.closest("svg") && element.tagName.toLowerCase() !== "svg") continue;
    if (!isShown(element)) continue;
    const box = element.getBoundingClientRect();
    if (box.width < 2 || box.height < 2 || box.left >= width) continue;
    const style = getComputedStyle(element);
    if (box.right > width + 1 && style.position !== "fixed" && !isReached(element))
      faults.push(`${name(element)} reaches to ${Math.round(box.right)} of ${width} pixels`);
    const hidden = element.scrollWidth - element.clientWidth;
    const cuts = ["auto", "scroll"].includes(style.overflowX) ? isPrinted : style.overflowX === "hidden";
    const isCut = cuts && hidden > 2 && style.textOverflow !== "ellipsis" && element.clientWidth > 2;
    if (isCut && element.closest("main, article") && !element.closest(".md-sidebar"))
      faults.push(`${name(element)} is cut: ${element.scrollWidth} pixels in ${element.clientWidth}`);
  }

  // -- contrast
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const colours = new Map();
  const parsed = (colour) => {
    if (!colours.has(colour)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
      colours.set(colour, [r, g, b, a / 255]);
    }
    return colours.get(colour);
  };
  const over = ([r, g, b, a], [R, G, B]) => [a * r + (1 - a) * R, a * g + (1 - a) * G, a * b + (1 - a) * B];
  const backgrounds = new Map();
  const background = (element) => {
    if (!element) return [255, 255, 255];
    if (!backgrounds.has(element))
      backgrounds.set(element, over(parsed(getComputedStyle(element).backgroundColor), background(element.parentElement)));
    return backgrounds.get(element);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (!isPrinted && texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || seen.has(element)) continue;
    seen.add(element);
    if (["SCRIPT", "STYLE", "NOSCRIPT", "OPTION", "TITLE", "DESC"].includes(element.tagName.toUpperCase())) continue;
    if (!isShown(element) || element.closest("[aria-hidden=true], :disabled")) continue;
    const box = element.getBoundingClientRect();
    if (box.width < 2 || box.height < 2) continue;
    const style = getComputedStyle(element);
    const isDrawn = element instanceof SVGElement;
    if (isDrawn && element.closest("[role=img]:not(.diagram)")) continue;
    const [r, g, b, a] = parsed(isDrawn ? style.fill : style.color);
    let opacity = a;
    for (let parent = element; parent; parent = parent.parentElement) opacity *= Number(getComputedStyle(parent).opacity);
    const below = background(isDrawn ? element.closest("svg") : element);
    const [one, two] = [light(over([r, g, b, opacity], below)), light(below)];
    const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (contrast < (isLarge ? 3 : 4.5) - 0.005)
      faults.push(`${name(element)} has a contrast of ${contrast.toFixed(2)}`);
  }

  // -- images
  for (const image of document.images)
    if (image.getAttribute("src") && image.complete && !image.naturalWidth) faults.push(`${name(image)} ${image.alt} is broken`);
  return [...new Set(faults)];
}
