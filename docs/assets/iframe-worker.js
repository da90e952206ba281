// Search in pages that are opened from the disk. Browsers start no worker from file://, so this one runs the script of
// the search in a hidden frame. The name of the file tells mkdocs-material to load no such script from elsewhere.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.documentElement.appendChild(this.frame);

      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inside.importScripts = (...urls) => Promise.all(urls.map((name) => this.load(name)));
      this.load(url).then(() => {
        this.ready = true;
        this.waiting.forEach((data) => this.send(data));
      });
    }

    load(url) {
      return new Promise((resolve, reject) => {
        const script = this.frame.contentDocument.createElement("script");
        script.src = url;
        script.onload = resolve;
        script.onerror = reject;
        this.frame.contentDocument.head.appendChild(script);
      });
    }

    send(data) {
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }

    postMessage(data) {
      this.ready ? this.send(data) : this.waiting.push(data);
    }

    terminate() {
      this.frame.remove();
    }
  };
}
