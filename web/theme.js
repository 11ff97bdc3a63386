// Runs before the first paint, so that no one sees a flash of the other theme.
// Without a choice the page follows the device.
(function () {
  const ORDER = ['system', 'light', 'dark'];
  const dark = matchMedia('(prefers-color-scheme: dark)');
  let inMemory = 'system'; // where storage is forbidden, for this visit
  const chosen = () => {
    try { return localStorage.getItem('theme') ?? inMemory; } catch { return inMemory; }
  };
  const apply = () => {
    const theme = chosen();
    document.documentElement.dataset.theme = theme === 'system' ? (dark.matches ? 'dark' : 'light') : theme;
  };
  const next = () => {
    inMemory = ORDER[(ORDER.indexOf(chosen()) + 1) % ORDER.length];
    try { localStorage.setItem('theme', inMemory); } catch { /* then only here */ }
    apply();
  };
  apply();
  dark.addEventListener('change', apply);
  addEventListener('storage', apply); // the panes and other tabs follow
  globalThis.theme = { chosen, next };
})();
