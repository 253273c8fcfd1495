// A button for what there is to copy. Without JavaScript, or where a browser
// gives no clipboard, the text is there to be selected.
if (navigator.clipboard) {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    const words = button.textContent;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(text);
        button.textContent = "Selected: now copy it";
      }
      setTimeout(() => { button.textContent = words; }, 4000);
    });
  }
}

// Parts of a page that keep themselves at the present: the server says that there
// is something new, and htmx reads the page again. While nothing can be heard they
// ask as often as they say, otherwise each minute, since some things change with
// time alone. A page that nobody sees holds no connection: a browser has few for
// each server.
const liveParts = "[data-live]";
const minute = 60_000;
let words = null;
let asked = 0;

function listen() {
  const part = document.querySelector(liveParts);
  if (document.hidden || !part || !window.EventSource) {
    words?.close();
    words = null;
  } else if (!words || words.readyState === EventSource.CLOSED) {
    words = new EventSource(part.dataset.live);
    words.addEventListener("message", () => {
      document.body.dispatchEvent(new CustomEvent("live"));
      listen();
    });
  }
}

const heard = () => words?.readyState === EventSource.OPEN;

document.addEventListener("htmx:beforeRequest", (event) => {
  if (!event.target.matches(liveParts)) return;
  const byItself = !event.detail.requestConfig.triggeringEvent;
  if (byItself && heard() && Date.now() - asked < minute) {
    event.preventDefault();
    return;
  }
  asked = Date.now();
  listen();
});

// What looks the same stays, and nothing is taken from under somebody's hands.
document.addEventListener("htmx:beforeSwap", (event) => {
  const part = event.target;
  if (!part.matches(liveParts) || !event.detail.shouldSwap) return;
  const fresh = new DOMParser().parseFromString(event.detail.serverResponse, "text/html").getElementById(part.id);
  const busy = part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select");
  if (busy || fresh?.innerHTML === part.innerHTML) event.detail.shouldSwap = false;
});

document.addEventListener("visibilitychange", listen);
listen();
