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
