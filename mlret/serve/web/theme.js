// Before the page is drawn, so that it does not flash in the other colours: the theme that the reader chose.
(() => {
  try {
    const theme = localStorage.getItem("mlret.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Without storage the system's theme is used.
  }
})();
