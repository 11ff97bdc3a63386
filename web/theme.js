// Runs before the first paint, so that no one sees a flash of the other theme.
// "system" stands for no choice: the attribute then follows the device.
(function () {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const chosen = () => { try { return localStorage.getItem('theme') || 'system'; } catch { return 'system'; } };
  const apply = () => {
    const t = chosen();
    document.documentElement.dataset.theme = t === 'system' ? (dark.matches ? 'dark' : 'light') : t;
  };
  apply();
  dark.addEventListener('change', apply);
  addEventListener('storage', apply);
  globalThis.theme = { chosen, apply };
})();
