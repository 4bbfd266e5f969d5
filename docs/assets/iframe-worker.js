// A page that was opened from a disk may not start a worker, in which the search runs. There, this runs the script of the
// worker in a frame of its own instead, which is the same to the page.
(() => {
  "use strict";
  if (location.protocol !== "file:") return;

  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "Search";
      document.body.append(frame);
      this.inside = frame.contentWindow;
      // What the script sends goes to this page.
      this.inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = this.inside.document.createElement("script");
      script.src = address;
      this.started = new Promise((resolve) => script.addEventListener("load", resolve));
      this.inside.document.head.append(script);
    }

    postMessage(data) {
      this.started.then(() => this.inside.dispatchEvent(new this.inside.MessageEvent("message", { data })));
    }
  };
})();
