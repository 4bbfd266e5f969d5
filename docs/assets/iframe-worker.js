// A page that was opened from a disk may not start a worker, in which the search runs. There, this runs the script of the
// worker in a frame of its own instead, which is the same to the page.
(() => {
  "use strict";
  if (location.protocol !== "file:") return;

  const later = (call) => setTimeout(call);
  const copy = structuredClone;

  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      this.onmessage = this.onerror = null;
      this.addEventListener("message", (event) => this.onmessage?.(event));
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "Search";
      document.body.append(frame);
      this.frame = frame;
      this.inside = frame.contentWindow;
      // What the script sends goes to this page, later and as a copy, as it would from a worker.
      this.inside.postMessage = (data) => later(() => this.dispatchEvent(new MessageEvent("message", { data: copy(data) })));
      const script = this.inside.document.createElement("script");
      script.src = address;
      this.started = new Promise((resolve) => script.addEventListener("load", resolve));
      script.addEventListener("error", (event) => this.onerror?.(event));
      this.inside.document.head.append(script);
    }

    postMessage(data) {
      const message = { data: copy(data) };
      this.started.then(() => later(() => this.inside.dispatchEvent(new this.inside.MessageEvent("message", message))));
    }

    terminate() {
      this.frame.remove();
    }
  };
})();
